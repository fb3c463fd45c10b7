"""Settings of the engine: models, endpoints, pipelines, rules and words."""
