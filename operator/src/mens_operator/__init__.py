"""The operator: watches the three kinds, plans what should exist, tells the cluster."""
