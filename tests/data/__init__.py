"""Small stored inputs and outputs of the published models, and the seeded weights they are of."""
