"""What leaves in the field's own formats; each file writes one of them from plain values."""
