"""What lies in a bucket: digests, references, manifests, and the one client that speaks S3.

Nothing here knows Kubernetes. The order in which to read: `digests`, `refs`, `errors`, `store`
(the protocol) with `memory` and `s3` behind it, `manifests`, `layout`, `publishing`, `reading`.
"""
