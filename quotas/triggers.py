"""The trigger that guards closed entries, on both databases (DESIGN §4).

An entry changes once, when it closes. A migration that makes SQLite rebuild the table loses its
triggers: it must run `create` again.
"""

from typing import Any

SQLITE = """
CREATE TRIGGER IF NOT EXISTS entry_closed BEFORE UPDATE ON quotas_entry
WHEN OLD.state <> 'open'
BEGIN SELECT RAISE(ABORT, 'a closed entry cannot change'); END
"""
POSTGRESQL = """
CREATE OR REPLACE FUNCTION quotas_entry_closed() RETURNS trigger AS $$
BEGIN
  RAISE EXCEPTION 'a closed entry cannot change' USING ERRCODE = 'integrity_constraint_violation';
END $$ LANGUAGE plpgsql;
DROP TRIGGER IF EXISTS entry_closed ON quotas_entry;
CREATE TRIGGER entry_closed BEFORE UPDATE ON quotas_entry
FOR EACH ROW WHEN (OLD.state <> 'open') EXECUTE FUNCTION quotas_entry_closed();
"""


def create(apps: Any, schema_editor: Any) -> None:
    """A migration's operation."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(POSTGRESQL, params=None)
    else:
        schema_editor.execute(SQLITE, params=None)


def drop(apps: Any, schema_editor: Any) -> None:
    on = " ON quotas_entry" if schema_editor.connection.vendor == "postgresql" else ""
    schema_editor.execute(f"DROP TRIGGER IF EXISTS entry_closed{on}", params=None)
