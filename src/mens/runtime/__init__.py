"""Code that the pods' programs share: the job contract, termination and the machine's limits."""
