"""The three custom resources, the one truth of the API: CRDs, help and reference come from here."""
