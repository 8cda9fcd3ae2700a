"""Every interleaving of a few scripts on PostgreSQL, stepped statement by statement."""
