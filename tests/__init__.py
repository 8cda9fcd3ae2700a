"""The tests of oncetask."""
