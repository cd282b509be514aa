"""The main job on real input, end to end: corpus, training, serving, questions, lineage.

It does what a user does: `helm install`, `kubectl apply -f examples/01-quickstart`, HTTP requests.
"""
