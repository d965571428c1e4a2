"""The words that, right before an opening parenthesis, cannot change the session.

`KEYWORDS` are no functions at all. `BUILT_IN` and `EXTENSIONS` are functions that read, compute,
act on the whole server or last no longer than the transaction. Left out on purpose, and so not
trusted: whatever stays in the session (`set_config`, `setseed`, `nextval`, `pg_advisory_lock`,
temporary replication slots), runs SQL from a string (`query_to_xml`, `ts_stat`), or is so seldom
called by a site that looking at it is not worth the risk. A test compares the list with a real
server's `pg_proc`, so that a new version of PostgreSQL asks for a decision on each new function.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Reserved words, and those that cannot name a function ("col_name" words in the grammar).
KEYWORDS: Final = _words(
    """
    all analyse analyze and any array as asc asymmetric between bigint bit boolean both case cast
    char character check coalesce collate column constraint create current_catalog current_date
    current_role current_time current_timestamp current_user dec decimal default deferrable desc
    distinct do else end except exists extract false fetch float for foreign from grant greatest
    group grouping having in initially inout int integer intersect interval into json json_array
    json_arrayagg json_exists json_object json_objectagg json_query json_scalar json_serialize
    json_table json_value lateral leading least limit localtime localtimestamp merge_action national
    nchar none normalize not null nullif numeric offset on only or order out overlay placing
    position precision primary real references returning row select session_user setof smallint some
    substring symmetric system_user table then time timestamp to trailing treat trim true union
    unique user using values varchar variadic when where window with xmlattributes xmlconcat
    xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
    """,
)

BUILT_IN: Final = _words(
    """
    abbrev abs acldefault aclexplode acos acosd acosh age any_value area array_agg array_append
    array_cat array_dims array_fill array_length array_lower array_ndims array_position
    array_positions array_prepend array_remove array_replace array_reverse array_sample
    array_shuffle array_sort array_to_json array_to_string array_to_tsvector array_upper
    arraycontained arraycontains arrayoverlap ascii asin asind asinh atan atan2 atan2d atand atanh
    avg bit_and bit_count bit_length bit_or bit_xor bool bool_and bool_or box bpchar broadcast btrim
    bytea cardinality casefold cbrt ceil ceiling center char_length character_length chr cidr circle
    clock_timestamp col_description concat concat_ws convert convert_from convert_to corr cos cosd
    cosh cot cotd count covar_pop covar_samp crc32 crc32c cume_dist current_database current_query
    current_schema current_schemas current_setting date date_add date_bin date_part date_subtract
    date_trunc datemultirange daterange decode degrees dense_rank diagonal diameter div encode
    enum_first enum_last enum_range erf erfc every exp factorial family first_value float4 float8
    floor format format_type gamma gcd gen_random_uuid generate_series generate_subscripts get_bit
    get_byte get_current_ts_config getdatabaseencoding has_any_column_privilege has_column_privilege
    has_database_privilege has_foreign_data_wrapper_privilege has_function_privilege
    has_language_privilege has_largeobject_privilege has_parameter_privilege has_schema_privilege
    has_sequence_privilege has_server_privilege has_table_privilege has_tablespace_privilege
    has_type_privilege hash_record hash_record_extended hashint4 hashint4extended hashint8
    hashint8extended hashtext hashtextextended height host hostmask icu_unicode_version
    inet_client_addr inet_client_port inet_merge inet_same_family inet_server_addr inet_server_port
    initcap int2 int4 int4multirange int4range int8 int8multirange int8range interval_pl
    is_normalized isclosed isempty isfinite ishorizontal isopen isparallel isperp isvertical
    json_agg json_agg_strict json_array_element json_array_element_text json_array_elements
    json_array_elements_text json_array_length json_build_array json_build_object json_each
    json_each_text json_extract_path json_extract_path_text json_object_agg json_object_agg_strict
    json_object_agg_unique json_object_agg_unique_strict json_object_field json_object_field_text
    json_object_keys json_populate_record json_populate_recordset json_strip_nulls json_to_record
    json_to_recordset json_to_tsvector json_typeof jsonb_agg jsonb_agg_strict jsonb_array_element
    jsonb_array_element_text jsonb_array_elements jsonb_array_elements_text jsonb_array_length
    jsonb_build_array jsonb_build_object jsonb_concat jsonb_contained jsonb_contains jsonb_delete
    jsonb_delete_path jsonb_each jsonb_each_text jsonb_exists jsonb_exists_all jsonb_exists_any
    jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg
    jsonb_object_agg_strict jsonb_object_agg_unique jsonb_object_agg_unique_strict
    jsonb_object_field jsonb_object_field_text jsonb_object_keys jsonb_path_exists
    jsonb_path_exists_opr jsonb_path_exists_tz jsonb_path_match jsonb_path_match_tz jsonb_path_query
    jsonb_path_query_array jsonb_path_query_array_tz jsonb_path_query_first
    jsonb_path_query_first_tz jsonb_path_query_tz jsonb_populate_record jsonb_populate_record_valid
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record
    jsonb_to_recordset jsonb_to_tsvector jsonb_typeof justify_days justify_hours justify_interval
    lag last_value lcm lead left length lgamma like like_escape line ln lo_close lo_creat lo_create
    lo_export lo_from_bytea lo_get lo_import lo_lseek lo_lseek64 lo_open lo_put lo_tell lo_tell64
    lo_truncate lo_truncate64 lo_unlink log log10 loread lower lower_inc lower_inf lowrite lpad lseg
    ltrim macaddr make_date make_interval make_time make_timestamp make_timestamptz makeaclitem
    masklen max md5 min min_scale mod mode money multirange mxid_age name netmask network now
    npoints nth_value ntile num_nonnulls num_nulls nummultirange numnode numrange obj_description
    octet_length oid overlaps parse_ident path percent_rank percentile_cont percentile_disc
    pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_available_extension_versions
    pg_available_extensions pg_backend_pid pg_basetype pg_blocking_pids pg_cancel_backend
    pg_char_to_encoding pg_client_encoding pg_collation_actual_version pg_collation_for
    pg_collation_is_visible pg_column_compression pg_column_is_updatable pg_column_size
    pg_conf_load_time pg_conversion_is_visible pg_current_logfile pg_current_snapshot
    pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn pg_current_xact_id
    pg_current_xact_id_if_assigned pg_database_collation_actual_version pg_database_size
    pg_describe_object pg_encoding_max_length pg_encoding_to_char pg_export_snapshot
    pg_extension_update_paths pg_function_is_visible pg_get_acl pg_get_backend_memory_contexts
    pg_get_constraintdef pg_get_expr pg_get_function_arg_default pg_get_function_arguments
    pg_get_function_identity_arguments pg_get_function_result pg_get_function_sqlbody
    pg_get_functiondef pg_get_indexdef pg_get_keywords pg_get_object_address
    pg_get_partition_constraintdef pg_get_partkeydef pg_get_replica_identity_index pg_get_ruledef
    pg_get_serial_sequence pg_get_statisticsobjdef pg_get_statisticsobjdef_columns
    pg_get_statisticsobjdef_expressions pg_get_triggerdef pg_get_userbyid pg_get_viewdef
    pg_get_wait_events pg_has_role pg_identify_object pg_identify_object_as_address
    pg_index_column_has_property pg_index_has_property pg_indexam_has_property pg_indexes_size
    pg_input_error_info pg_input_is_valid pg_is_in_recovery pg_is_other_temp_schema
    pg_is_wal_replay_paused pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn
    pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_listening_channels
    pg_log_backend_memory_contexts pg_lsn pg_my_temp_schema pg_notification_queue_usage pg_notify
    pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible pg_options_to_table
    pg_partition_ancestors pg_partition_root pg_partition_tree pg_postmaster_start_time
    pg_relation_filenode pg_relation_filepath pg_relation_is_publishable pg_relation_is_updatable
    pg_relation_size pg_reload_conf pg_safe_snapshot_blocking_pids pg_sequence_last_value
    pg_sequence_parameters pg_settings_get_flags pg_size_bytes pg_size_pretty pg_sleep pg_sleep_for
    pg_sleep_until pg_snapshot_xip pg_snapshot_xmax pg_snapshot_xmin pg_stat_clear_snapshot
    pg_stat_have_stats pg_stat_reset pg_stat_reset_backend_stats pg_stat_reset_replication_slot
    pg_stat_reset_shared pg_stat_reset_single_function_counters pg_stat_reset_single_table_counters
    pg_stat_reset_slru pg_stat_reset_subscription_stats pg_statistics_obj_is_visible
    pg_table_is_visible pg_table_size pg_tablespace_location pg_tablespace_size pg_terminate_backend
    pg_timezone_names pg_total_relation_size pg_trigger_depth pg_try_advisory_xact_lock
    pg_try_advisory_xact_lock_shared pg_ts_config_is_visible pg_ts_dict_is_visible
    pg_ts_parser_is_visible pg_ts_template_is_visible pg_type_is_visible pg_typeof
    pg_visible_in_snapshot pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status
    phraseto_tsquery pi plainto_tsquery point polygon pow power quote_ident quote_literal
    quote_nullable radians radius random random_normal range_adjacent range_agg range_contains
    range_intersect_agg range_merge range_overlaps rank regclass regexp_count regexp_instr
    regexp_like regexp_match regexp_matches regexp_replace regexp_split_to_array
    regexp_split_to_table regexp_substr regr_avgx regr_avgy regr_count regr_intercept regr_r2
    regr_slope regr_sxx regr_sxy regr_syy repeat replace reverse right round row_number
    row_security_active row_to_json rpad rtrim scale set_bit set_byte set_masklen setweight sha224
    sha256 sha384 sha512 shobj_description sign similar_to_escape sin sind sinh slope split_part
    sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp string_agg string_to_array
    string_to_table strip strpos substr sum tan tand tanh text textcat texteq timeofday
    timestamp_pl_interval timestamptz timetz timezone to_ascii to_bin to_char to_date to_hex to_json
    to_jsonb to_number to_oct to_regclass to_regcollation to_regnamespace to_regoper to_regoperator
    to_regproc to_regprocedure to_regrole to_regtype to_regtypemod to_timestamp to_tsquery
    to_tsvector transaction_timestamp translate trim_array trim_scale trunc ts_debug ts_delete
    ts_filter ts_headline ts_lexize ts_parse ts_rank ts_rank_cd ts_token_type tsmultirange
    tsquery_phrase tsrange tstzmultirange tstzrange tsvector_concat tsvector_to_array txid_current
    txid_current_if_assigned txid_current_snapshot txid_snapshot_xip txid_snapshot_xmax
    txid_snapshot_xmin txid_status txid_visible_in_snapshot unicode_assigned unicode_version unistr
    unnest upper upper_inc upper_inf uuid_extract_timestamp uuid_extract_version uuidv4 uuidv7
    var_pop var_samp varbit variance version websearch_to_tsquery width width_bucket xml
    xml_is_well_formed xml_is_well_formed_content xml_is_well_formed_document xmlagg xmlcomment
    xmltext xmlvalidate xpath xpath_exists
    """,
)

# By extension. Wherever it is installed, an unqualified name is taken to be the extension's.
EXTENSIONS: Final = {
    "citext": _words("citext"),
    "fuzzystrmatch": _words(
        """
        daitch_mokotoff dmetaphone dmetaphone_alt levenshtein levenshtein_less_equal metaphone
        soundex
        """,
    ),
    "hstore": _words(
        """
        akeys avals hstore hstore_to_array hstore_to_json hstore_to_json_loose hstore_to_jsonb
        hstore_to_jsonb_loose hstore_to_matrix isdefined isexists skeys svals
        """,
    ),
    "ltree": _words(
        """
        lca ltree2text nlevel subltree subpath text2ltree
        """,
    ),
    "pg_trgm": _words(
        """
        show_limit show_trgm similarity strict_word_similarity word_similarity
        """,
    ),
    "pgcrypto": _words(
        """
        armor crypt dearmor decrypt decrypt_iv digest encrypt encrypt_iv gen_random_bytes gen_salt
        hmac pgp_key_id pgp_pub_decrypt pgp_pub_decrypt_bytea pgp_pub_encrypt pgp_pub_encrypt_bytea
        pgp_sym_decrypt pgp_sym_decrypt_bytea pgp_sym_encrypt pgp_sym_encrypt_bytea
        """,
    ),
    "postgis": _words(
        """
        box2d box3d find_srid geography geometry geometrytype postgis_full_version
        postgis_geos_version postgis_lib_version postgis_proj_version postgis_version
        st_3dclosestpoint st_3ddistance st_3ddwithin st_3dintersects st_3dlength st_3dmakebox
        st_3dperimeter st_addpoint st_affine st_angle st_area st_asbinary st_asencodedpolyline
        st_asewkb st_asewkt st_asflatgeobuf st_asgeobuf st_asgeojson st_asgml st_ashexewkb st_askml
        st_aslatlontext st_asmvt st_asmvtgeom st_assvg st_astext st_astwkb st_asx3d st_azimuth
        st_boundary st_boundingdiagonal st_buffer st_buildarea st_centroid st_chaikinsmoothing
        st_cleangeometry st_clipbybox2d st_closestpoint st_clusterdbscan st_clusterintersecting
        st_clusterkmeans st_clusterwithin st_collect st_collectionextract st_collectionhomogenize
        st_concavehull st_contains st_containsproperly st_convexhull st_coorddim st_coveredby
        st_covers st_crosses st_curvetoline st_delaunaytriangles st_dfullywithin st_difference
        st_dimension st_disjoint st_distance st_distancesphere st_distancespheroid st_dump
        st_dumppoints st_dumprings st_dumpsegments st_dwithin st_endpoint st_envelope st_equals
        st_estimatedextent st_expand st_extent st_exteriorring st_flipcoordinates st_force2d
        st_force3d st_force3dm st_force3dz st_force4d st_forcecollection st_forcecurve st_forcelhr
        st_forcepolygonccw st_forcepolygoncw st_forcerhr st_forcesfs st_frechetdistance
        st_generatepoints st_geogfromtext st_geogfromwkb st_geographyfromtext st_geohash
        st_geomcollfromtext st_geometricmedian st_geometryfromtext st_geometryn st_geometrytype
        st_geomfromewkb st_geomfromewkt st_geomfromgeohash st_geomfromgeojson st_geomfromgml
        st_geomfromkml st_geomfromtext st_geomfromtwkb st_geomfromwkb st_hasarc st_hausdorffdistance
        st_hexagon st_hexagongrid st_interiorringn st_interpolatepoint st_intersection st_intersects
        st_isclosed st_iscollection st_isempty st_ispolygonccw st_ispolygoncw st_isring st_issimple
        st_isvalid st_isvaliddetail st_isvalidreason st_length st_length2d st_lengthspheroid
        st_linecrossingdirection st_linefromencodedpolyline st_linefrommultipoint st_linefromtext
        st_lineinterpolatepoint st_lineinterpolatepoints st_linelocatepoint st_linemerge
        st_linesubstring st_linetocurve st_locatealong st_locatebetween st_longestline st_m
        st_makebox2d st_makeenvelope st_makeline st_makepoint st_makepointm st_makepolygon
        st_makevalid st_maxdistance st_maximuminscribedcircle st_memcollect st_memunion
        st_minimumboundingcircle st_minimumboundingradius st_minimumclearance st_mlinefromtext
        st_mpointfromtext st_mpolyfromtext st_multi st_ndims st_node st_normalize st_npoints
        st_nrings st_numgeometries st_numinteriorrings st_numpatches st_numpoints st_offsetcurve
        st_orientedenvelope st_overlaps st_patchn st_perimeter st_point st_pointfromgeohash
        st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_points st_polygon
        st_polygonfromtext st_polygonize st_project st_quantizecoordinates st_reduceprecision
        st_relate st_relatematch st_removepoint st_removerepeatedpoints st_reverse st_rotate
        st_scale st_segmentize st_setpoint st_setsrid st_sharedpaths st_shiftlongitude
        st_shortestline st_simplify st_simplifypreservetopology st_simplifyvw st_snap st_snaptogrid
        st_split st_square st_squaregrid st_srid st_startpoint st_subdivide st_summary
        st_swapordinates st_symdifference st_tileenvelope st_touches st_transform st_translate
        st_triangulatepolygon st_unaryunion st_union st_voronoilines st_voronoipolygons st_within
        st_wkbtosql st_wkttosql st_wrapx st_x st_xmax st_xmin st_y st_ymax st_ymin st_z st_zmax
        st_zmflag st_zmin
        """,
    ),
    "unaccent": _words("unaccent"),
    "uuid-ossp": _words(
        """
        uuid_generate_v1 uuid_generate_v1mc uuid_generate_v3 uuid_generate_v4 uuid_generate_v5
        uuid_nil uuid_ns_dns uuid_ns_oid uuid_ns_url uuid_ns_x500
        """,
    ),
    "vector": _words(
        """
        binary_quantize cosine_distance halfvec hamming_distance inner_product jaccard_distance
        l1_distance l2_distance l2_norm l2_normalize sparsevec subvector vector vector_dims
        vector_norm
        """,
    ),
}

FUNCTIONS: Final = BUILT_IN.union(*EXTENSIONS.values())
