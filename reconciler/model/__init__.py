"""The values that everything else speaks of: addresses, identities, permission models, states."""
