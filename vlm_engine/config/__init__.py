"""What a user sets: models, endpoints, pipelines, rules and words."""
