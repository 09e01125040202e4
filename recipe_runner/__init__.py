"""recipe_runner: a declarative YAML recipe runner for diffusion pipelines."""
