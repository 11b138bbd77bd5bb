"""The trigger that guards the audit log, on both databases: what is there stays as it is.

A migration that makes SQLite rebuild the table loses its triggers: it must run `create` again.
"""

from typing import Any

_DO = ("UPDATE", "DELETE")
SQLITE = [
    f"""
CREATE TRIGGER IF NOT EXISTS audit_no_{do.lower()} BEFORE {do} ON accounts_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit log cannot change'); END
"""
    for do in _DO
]
POSTGRESQL = [
    """
CREATE OR REPLACE FUNCTION accounts_audit_stays() RETURNS trigger AS $$
BEGIN
  RAISE EXCEPTION 'the audit log cannot change' USING ERRCODE = 'integrity_constraint_violation';
END $$ LANGUAGE plpgsql
""",
    "DROP TRIGGER IF EXISTS audit_stays ON accounts_auditevent",
    """
CREATE TRIGGER audit_stays BEFORE UPDATE OR DELETE ON accounts_auditevent
FOR EACH ROW EXECUTE FUNCTION accounts_audit_stays()
""",
]


def create(apps: Any, schema_editor: Any) -> None:
    """A migration's operation."""
    on_postgresql = schema_editor.connection.vendor == "postgresql"
    for statement in POSTGRESQL if on_postgresql else SQLITE:
        schema_editor.execute(statement, params=None)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP TRIGGER IF EXISTS audit_stays ON accounts_auditevent")
        return
    for do in _DO:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS audit_no_{do.lower()}")
