"""What we know we pushed: the recorded state, its journal and its stores."""
