"""What goes wrong is named, with table, chunk, file and the next command; the rest goes on."""

from __future__ import annotations

from tests.end_to_end.migration import Migration

PHASE_1 = "KPS_R_EMAIL_SUPPLIER,KPS_R_EMAIL_TENANT,KPS_R_POS_SUPPLIER"


def kpcluigi(migration: Migration, command: str) -> str:
    """Run a command that a message named, in the test's own run folder; what it printed."""
    cfg = migration.root.parent / "luigi.cfg"
    text = (migration.rehearsal.folder / "luigi.cfg").read_text("utf-8")
    data = str(migration.rehearsal.folder / "data")
    cfg.write_text(text.replace(f"root = {data}", f"root = {migration.root}"), "utf-8")
    ended = migration.commands.run(
        command.split(),
        environment={**migration.rehearsal.environment, "LUIGI_CONFIG_PATH": str(cfg)},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_a_chunk_that_fails_for_good(migration: Migration) -> None:
    migration.tables = PHASE_1 + ",KPS_T_PREINV"
    migration.rehearsal.salesforce.arm(
        on="job",
        object="KPS_POS_Supplier__c",
        times=-1,
        job_state="Failed",
        message="InvalidBatch : Field name not found : Gone__c",
    )
    ended = migration.run()
    assert ended.code == 30
    assert migration.verdicts() == {"KPS_R_EMAIL_SUPPLIER": "PASS", "KPS_R_EMAIL_TENANT": "PASS"}
    assert not (migration.folder / "KPS_T_PREINV").exists(), "the next phase waits"
    last = ended.output[ended.output.rindex("phase  table") :]
    chunk = migration.folder / "KPS_R_POS_SUPPLIER" / "chunks" / "00001.csv.gz"
    assert "KPS_R_POS_SUPPLIER chunk 1 (load): JobFailedError" in last
    assert "InvalidBatch : Field name not found : Gone__c" in last
    assert str(chunk) in last
    assert "Next: luigi --module kpcluigi MigrateAll --tables" in last

    migration.rehearsal.salesforce.disarm()
    assert migration.run().code == 0
    assert set(migration.verdicts().values()) == {"PASS"}
    assert len(migration.verdicts()) == 4
    assert not list(migration.folder.glob("*/failed/*"))


def test_failed_rows_hold_the_next_phase_and_are_named(migration: Migration) -> None:
    migration.tables = PHASE_1 + ",KPS_T_PREINV"
    migration.rehearsal.salesforce.arm(
        on="row",
        object="KPS_Tenant_Email__c",
        nth=3,
        times=2,
        row_error="FIELD_CUSTOM_VALIDATION_EXCEPTION:tenant is closed:--",
    )
    ended = migration.run()
    assert ended.code == 30
    assert "2 rows failed, more than max_failed_rows = 0" in ended.output
    command = "luigi --module kpcluigi RetryFailed --table KPS_R_EMAIL_TENANT"
    last = ended.output[ended.output.rindex("phase  table") :]
    assert f"Next: {command}" in last
    assert (migration.folder / "KPS_R_EMAIL_TENANT" / "dead_letter" / "00001.csv.gz").exists()
    assert not (migration.folder / "KPS_T_PREINV" / "plan.json").exists()
    load = migration.marker("KPS_R_EMAIL_TENANT", "loads", "00001.json")
    assert load["failed"] == 2
    assert load["extracted"] == load["created"] + load["updated"] + load["failed"]

    kpcluigi(migration, "kpcluigi reextract --table KPS_R_EMAIL_TENANT --chunk 1 --loaded")
    assert migration.run().code == 0
    assert set(migration.verdicts().values()) == {"PASS"}
    assert not (migration.folder / "KPS_R_EMAIL_TENANT" / "dead_letter" / "00001.csv.gz").exists()


def test_a_chunk_edited_after_extraction_is_refused_until_extracted_again(
    migration: Migration,
) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    migration.rehearsal.salesforce.arm(on="create", times=-1, status=403)
    assert migration.run().code == 30
    chunk = migration.folder / "KPS_R_POS_SUPPLIER" / "chunks" / "00001.csv.gz"
    chunk.write_bytes(chunk.read_bytes()[:-20])
    migration.rehearsal.salesforce.disarm()
    uploads = migration.rehearsal.salesforce.stats()["uploads"]

    ended = migration.run()
    assert ended.code == 30
    assert migration.rehearsal.salesforce.stats()["uploads"] == uploads
    command = "kpcluigi reextract --table KPS_R_POS_SUPPLIER --chunk 1"
    assert command in ended.output

    kpcluigi(migration, command)
    assert migration.run().code == 0
    assert migration.verdicts() == {"KPS_R_POS_SUPPLIER": "PASS"}


def test_passing_oracle_errors_are_tried_again(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    oracle = migration.rehearsal.oracle
    oracle.arm(on="execute", match="^SELECT t.*ORDER BY t.SUPPLIER_CODE", ora=12170)
    assert migration.run().code == 0
    assert migration.verdicts() == {"KPS_R_POS_SUPPLIER": "PASS"}
    reads = [
        entry
        for entry in oracle.log()
        if "extract 1" in (entry["action"] or "")
        and "ORDER BY t.SUPPLIER_CODE, t.POS_NO" in entry["sql"]
    ]
    assert len(reads) == 2, "refused once, then read"


def test_a_refused_oracle_login_is_tried_once(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    environment = migration.rehearsal.environment
    before = environment["KPC_ORACLE_PASSWORD"]
    environment["KPC_ORACLE_PASSWORD"] = "wrong"
    try:
        ended = migration.run()
    finally:
        environment["KPC_ORACLE_PASSWORD"] = before
    assert ended.code == 30
    assert "ORA-01017" in ended.output
    assert "Oracle refused the login of KPC_READER" in ended.output[ended.output.rindex("phase") :]
    assert migration.rehearsal.oracle.stats()["refused_logins"] == 1


def test_a_mapping_that_does_not_fit_the_org_starts_nothing(migration: Migration) -> None:
    migration.tables = "KPS_R_POS_SUPPLIER"
    tables = migration.root.parent / "tables.toml"
    text = (migration.rehearsal.folder / "tables.toml").read_text("utf-8")
    tables.write_text(text.replace("POS_Model__c", "No_Such__c"), "utf-8")
    ended = migration.run("--migration-tables", str(tables))
    assert ended.code == 30
    assert "KPS_R_POS_SUPPLIER.POS_MODEL -> KPS_POS_Supplier__c.No_Such__c" in ended.output
    assert not (migration.folder / "KPS_R_POS_SUPPLIER").exists()


def test_what_is_not_the_runs_own_is_refused(migration: Migration) -> None:
    """An audit that somebody changed; another org behind the same folder; then a marker that
    cannot be read."""
    migration.tables = "KPS_R_POS_SUPPLIER"
    assert migration.run().code == 0
    audit = migration.folder / "audit.jsonl"
    lines = audit.read_text("utf-8")
    audit.write_text(lines.replace('"rows":', '"rows" :', 1), "utf-8")
    ended = migration.run()
    assert ended.code == 35, "all PASS, but what proves it was changed"
    assert f"AUDIT BROKEN: {audit}: line " in ended.output
    assert "its audit cannot be relied on" in (migration.folder / "report.html").read_text("utf-8")
    audit.write_text(lines, "utf-8")

    identity = migration.folder / "run.json"
    text = identity.read_text("utf-8")
    org = migration.marker("run.json")["org_id"]
    identity.write_text(text.replace(org, "00D000000000001AAA"), "utf-8")
    folder = migration.folder / "KPS_R_POS_SUPPLIER"
    (folder / "reconciled.json").unlink()
    ended = migration.run()
    assert ended.code == 30
    assert "belongs to org 00D000000000001AAA" in ended.output

    identity.write_text(text, "utf-8")
    (folder / "loads" / "00001.json").write_text("{", "utf-8")
    ended = migration.run()
    assert ended.code == 35
    assert f"{folder / 'loads' / '00001.json'} is not a readable LoadResult marker" in ended.output
