"""One Report object, computed from the plan and from measurements, and its renderings: JSON and text."""
