"""The pages for people. Pages and endpoints redirect to each other, but never import each other."""
