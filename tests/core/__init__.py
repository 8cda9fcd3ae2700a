"""The pure core: every decision, judgement and order, as tables and properties."""
