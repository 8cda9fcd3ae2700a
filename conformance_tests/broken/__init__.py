"""Stores that are wrong on purpose, to show that the conformance suite notices.

`plain` is a correct store in which every rule of the contract is one small method. Each broken store
overrides a few lines of it, and says in its docstring what is wrong with it.
"""
