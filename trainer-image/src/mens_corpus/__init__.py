"""Sources become a dataset: licensed, accounted for, fingerprinted; equal input, equal bytes.

The order in which to read: `rows`, `extracting`, `reading`, `licensing`, `collecting` (one source),
`deciding` (all rows), `building` (the whole), and at the borders `running` (a pod) and `command`
(a person). Nothing here imports torch, kopf or boto3.
"""
