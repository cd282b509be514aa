"""Models to CRDs, their copies in the chart, and the API reference: build time only.

`python -m mens.crdgen` writes them, `--check` says what differs. Nothing it writes is edited.
"""
