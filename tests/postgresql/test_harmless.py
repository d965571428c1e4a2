"""The lists of harmless words against the catalogue of a real server."""

import re

from carpool.postgresql.harmless import BUILT_IN, EXTENSIONS, KEYWORDS


def test_keywords_are_those_of_the_server(postgres):
    query = "SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'C')"
    assert {word for (word,) in postgres.query(query)} == KEYWORDS


# Built-in functions which nobody calls by name: they make operators, types, casts, indexes work.
CALLABLE = """
    WITH inner_works (oid) AS (
        SELECT unnest(ARRAY[oprcode, oprrest, oprjoin]::oid[]) FROM pg_operator
        UNION ALL SELECT amproc::oid FROM pg_amproc
        UNION ALL SELECT castfunc FROM pg_cast
        UNION ALL SELECT unnest(ARRAY[typinput, typoutput, typreceive, typsend, typmodin, typmodout,
                                      typanalyze, typsubscript]::oid[]) FROM pg_type
        UNION ALL SELECT unnest(ARRAY[aggtransfn, aggfinalfn, aggcombinefn, aggserialfn,
            aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn]::oid[]) FROM pg_aggregate
        UNION ALL SELECT unnest(ARRAY[rngcanonical, rngsubdiff]::oid[]) FROM pg_range
        UNION ALL SELECT conproc::oid FROM pg_conversion
        UNION ALL SELECT amhandler::oid FROM pg_am
        UNION ALL SELECT prosupport::oid FROM pg_proc
        UNION ALL SELECT unnest(ARRAY[lanplcallfoid, laninline, lanvalidator]) FROM pg_language
        UNION ALL SELECT unnest(ARRAY[prsstart, prstoken, prsend, prsheadline, prslextype]::oid[])
            FROM pg_ts_parser
        UNION ALL SELECT unnest(ARRAY[tmplinit, tmpllexize]::oid[]) FROM pg_ts_template
    )
    SELECT DISTINCT proname FROM pg_proc f
    WHERE pronamespace = 'pg_catalog'::regnamespace
    AND NOT EXISTS (SELECT 1 FROM inner_works i WHERE i.oid = f.oid)
    AND 'internal'::regtype <> ALL (proargtypes::oid[])
    AND prorettype NOT IN ('internal'::regtype, 'trigger'::regtype)
"""
# Looked at and not trusted: they leave something in the session, run SQL from a string, or belong
# to replication, backup, upgrades and the like, which a site's pooled sessions do not do.
NOT_TRUSTED = re.compile(
    r"(pg_stat_get_|binary_upgrade_|pg_replication_origin_|pg_logical_|pg_event_trigger_"
    r"|pg_control_|pg_ls_|pg_wal_|pg_walfile_).*"
    r"|(query|cursor|table|schema|database)_to_xml(schema|_and_xmlschema)?"
    r"|pg_(try_)?advisory_(un)?lock(_shared|_all)?"
)
NOT_TRUSTED_NAMES = """
    amvalidate brin_desummarize_range brin_summarize_new_values brin_summarize_range cash_words
    currtid2 currval dexp dlog1 dlog10 dround dtrunc enum_in enum_out enum_send getpgusername
    gin_clean_pending_list int4inc int8_sum lastval macaddr8_set7bit nameconcatoid nextval notlike
    numeric_div_trunc numeric_exp numeric_inc numeric_ln numeric_log numeric_sqrt oidvectortypes
    pclose pg_available_wal_summaries pg_backup_start pg_backup_stop pg_clear_attribute_stats
    pg_clear_relation_stats pg_column_toast_chunk_id pg_config pg_copy_logical_replication_slot
    pg_copy_physical_replication_slot pg_create_logical_replication_slot
    pg_create_physical_replication_slot pg_create_restore_point pg_cursor pg_drop_replication_slot
    pg_extension_config_dump pg_filenode_relation pg_get_aios pg_get_catalog_foreign_keys
    pg_get_loaded_modules pg_get_multixact_members pg_get_publication_tables
    pg_get_replication_slots pg_get_sequence_data pg_get_shmem_allocations
    pg_get_shmem_allocations_numa pg_get_wal_replay_pause_state pg_get_wal_resource_managers
    pg_get_wal_summarizer_state pg_hba_file_rules pg_ident_file_mappings
    pg_import_system_collations pg_indexam_progress_phasename pg_isolation_test_session_is_blocked
    pg_lock_status pg_log_standby_snapshot pg_mcv_list_items pg_nextoid pg_numa_available
    pg_prepared_statement pg_prepared_xact pg_promote pg_read_binary_file pg_read_file
    pg_replication_slot_advance pg_restore_attribute_stats pg_restore_relation_stats
    pg_rotate_logfile pg_show_all_file_settings pg_show_all_settings
    pg_show_replication_origin_status pg_split_walfile_name pg_stat_file pg_stat_force_next_flush
    pg_stop_making_pinned_objects pg_switch_wal pg_sync_replication_slots pg_tablespace_databases
    pg_timezone_abbrevs_abbrevs pg_timezone_abbrevs_zone popen postgresql_fdw_validator querytree
    satisfies_hash_partition set_config setseed setval shell_in shell_out similar_escape textlen
    ts_rewrite ts_stat
"""


def test_every_built_in_function_is_decided(postgres):
    names = {name for (name,) in postgres.query(CALLABLE)} - KEYWORDS
    undecided = {name for name in names - BUILT_IN if not NOT_TRUSTED.fullmatch(name)}
    assert undecided == set(NOT_TRUSTED_NAMES.split())
    assert not [name for name in BUILT_IN if NOT_TRUSTED.fullmatch(name)]
    assert BUILT_IN.isdisjoint(NOT_TRUSTED_NAMES.split())


def test_the_list_has_no_name_that_the_server_does_not_know(postgres):
    names = {name for (name,) in postgres.query("SELECT proname FROM pg_proc")}
    assert not BUILT_IN - names


def test_no_extension_makes_a_dangerous_name_harmless():
    dangerous = {"set_limit", "dblink", "crosstab", "connectby", "setval", "set_config"}
    assert dangerous.isdisjoint(set().union(*EXTENSIONS.values()))
