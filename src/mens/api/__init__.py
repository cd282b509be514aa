"""The API of the three custom resources. CRDs, `kubectl explain` and the reference come from here.

Each resource has a module: `corpus`, `trainrun` and `serve`. They share `spec`, `status` and
`basemodel`. `condition_types` and `reasons` name what a status can report.
"""
