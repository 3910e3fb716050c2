"""From desired and recorded state to a plan."""
