"""Index a directory tree with durable tasks, killing a worker on the way, and prove that nothing was lost.

    python -m examples.index_files PATH --store sqlite:///index.db

`tasks` is what an application would write: payloads and handlers. The rest is the experiment around it: `ledger`
notes what the handlers really did, in a file that the library knows nothing of; `verdict` compares both.
"""
