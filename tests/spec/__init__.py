"""An exhaustive exploration of the rules: every order of events that a few tasks and claims allow."""
