"""The component's YAML, schedules, sensors and actions."""
