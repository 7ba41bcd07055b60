"""The pages that a person sees; they and the endpoints redirect to each other and never call each other."""
