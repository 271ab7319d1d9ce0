"""Pictures of what an environment shows, drawn with Pillow."""
