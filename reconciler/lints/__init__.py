"""What is legal in the manifests and yet surely not meant: groups without people, entries without effect."""
