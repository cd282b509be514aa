"""May one use it, and where does it come from: licences, obligations, lineage. Pure.

Read `texts` (what makes two texts the same), `licences` (the reviewed table), `expressions`,
`obligations` (the lattice), then `bases`, `lineage` and `notice`, which use them.
"""
