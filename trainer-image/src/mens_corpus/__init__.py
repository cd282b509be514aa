"""Build a dataset from sources: licensed, accounted for and fingerprinted.

Equal inputs give equal bytes. Suggested reading order: `rows`, `extractors`, `readers`,
`license_detection`, `source_pipeline` (one source), `selection` (all rows), `builder` (the whole
build), and the entry points `job` (a pod) and `command` (the `mens corpus` command). Nothing here
imports torch, kopf or boto3.
"""
