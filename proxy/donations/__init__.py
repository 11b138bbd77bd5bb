"""Provider keys that users give: moderated, capped, withdrawn at any time."""
