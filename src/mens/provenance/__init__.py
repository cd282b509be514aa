"""May one use it, and where does it come from: licenses, obligations, lineage. Pure.

Read `texts` (what makes two texts the same), `licenses` (the reviewed table), `expressions`,
`obligations` (the lattice), then `bases`, `lineage` and `notice`, which use them.
"""
