"""The words that, right before an opening parenthesis, cannot change the session.

`KEYWORDS` are no functions at all. `BUILT_IN` and `ELSEWHERE` are functions that read or compute.
Left out on purpose, and so not trusted: whatever stays in the session (`get_lock`, `nextval`,
`last_insert_id` with an argument), tells of a statement before (`found_rows`), names user variables
in a string (`extractvalue`), or is so seldom called by a site that looking at it is not worth the
risk. A test calls each of them on a real server, so that a new version of MariaDB asks for a
decision on each new function.
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words of clauses, operators and types, as far as parentheses follow them.
KEYWORDS: Final = _words(
    """
    all and any as between bigint binary by case char collate cross date datetime dec decimal
    distinct distinctrow div double else except exists float for from group having in index int
    integer intersect interval into join key lateral like limit match mediumint mod nchar not
    numeric nvarchar offset on or order over partition regexp returning rlike row select set
    smallint some sounds straight_join table then time timestamp tinyint union update using value
    values varbinary varchar when where within xor year
    """,
)

# Of MariaDB 10.11; most are MySQL's as well.
BUILT_IN: Final = _words(
    """
    abs acos adddate addtime aes_decrypt aes_encrypt ascii asin atan atan2 avg benchmark bin bit_and
    bit_count bit_length bit_or bit_xor cast ceil ceiling char char_length character_length charset
    coalesce coercibility collation column_add column_check column_create column_delete
    column_exists column_get column_json column_list compress concat concat_ws connection_id conv
    convert convert_tz cos cot count crc32 crc32c cume_dist curdate current_date current_role
    current_time current_timestamp current_user curtime database date date_add date_format date_sub
    datediff day dayname dayofmonth dayofweek dayofyear default degrees dense_rank elt exp
    export_set extract field find_in_set first_value floor format from_base64 from_days
    from_unixtime geometrycollection geometryfromtext geomfromtext get_format greatest group_concat
    hex hour if ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa insert instr is_free_lock is_ipv4
    is_ipv4_compat is_ipv4_mapped is_ipv6 is_used_lock isnull json_array json_array_append
    json_array_insert json_arrayagg json_compact json_contains json_contains_path json_depth
    json_detailed json_equals json_exists json_extract json_insert json_keys json_length json_loose
    json_merge json_merge_patch json_merge_preserve json_normalize json_object json_objectagg
    json_overlaps json_pretty json_query json_quote json_remove json_replace json_search json_set
    json_table json_type json_unquote json_valid json_value lag last_day last_value lcase lead least
    left length linestring ln load_file localtime localtimestamp locate log log10 log2 lower lpad
    ltrim make_set makedate maketime max mbrcontains mbrdisjoint mbrequal mbrequals mbrintersects
    mbroverlaps mbrtouches mbrwithin md5 median microsecond mid min minute mod month monthname
    multilinestring multipoint multipolygon name_const natural_sort_key now nth_value ntile nullif
    oct octet_length ord password percent_rank percentile_cont percentile_disc period_add
    period_diff pi point polygon position pow power quarter quote radians rand random_bytes rank
    regexp_instr regexp_replace regexp_substr repeat replace reverse right round row_count
    row_number rpad rtrim schema sec_to_time second session_user sformat sha sha1 sha2 sign sin
    sleep soundex space sqrt st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt
    st_boundary st_buffer st_centroid st_contains st_convexhull st_crosses st_difference
    st_dimension st_disjoint st_distance st_distance_sphere st_endpoint st_envelope st_equals
    st_exteriorring st_geomcollfromtext st_geomcollfromwkb st_geometrycollectionfromtext
    st_geometrycollectionfromwkb st_geometryfromtext st_geometryfromwkb st_geometryn st_geometrytype
    st_geomfromgeojson st_geomfromtext st_geomfromwkb st_interiorringn st_intersection st_intersects
    st_isclosed st_isempty st_isring st_issimple st_length st_linefromtext st_linefromwkb
    st_linestringfromtext st_linestringfromwkb st_mlinefromtext st_mlinefromwkb st_mpointfromtext
    st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_multilinestringfromtext
    st_multilinestringfromwkb st_multipointfromtext st_multipointfromwkb st_multipolygonfromtext
    st_multipolygonfromwkb st_numgeometries st_numinteriorrings st_numpoints st_overlaps
    st_pointfromtext st_pointfromwkb st_pointn st_pointonsurface st_polyfromtext st_polyfromwkb
    st_polygonfromtext st_polygonfromwkb st_relate st_srid st_startpoint st_symdifference st_touches
    st_union st_within st_x st_y std stddev stddev_pop stddev_samp str_to_date strcmp subdate substr
    substring substring_index subtime sum sysdate system_user tan time time_format time_to_sec
    timediff timestamp timestampadd timestampdiff to_base64 to_days to_seconds trim truncate ucase
    uncompress uncompressed_length unhex unix_timestamp upper user utc_date utc_time utc_timestamp
    uuid uuid_short value values var_pop var_samp variance version week weekday weekofyear
    weight_string year yearweek
    """,
)

# Of MySQL 8 and 9 or of later versions of MariaDB.
ELSEWHERE: Final = _words(
    """
    any_value bin_to_uuid format_bytes format_pico_time from_vector geomcollection grouping
    gtid_subset gtid_subtract icu_version is_uuid json_array_intersect json_key_value
    json_object_filter_keys json_object_to_array json_schema_valid json_schema_validation_report
    json_storage_free json_storage_size kdf mbrcoveredby mbrcovers ps_current_thread_id ps_thread_id
    regexp_like st_buffer_strategy st_collect st_frechetdistance st_geohash st_geomcollfromtxt
    st_hausdorffdistance st_isvalid st_latfromgeohash st_latitude st_lineinterpolatepoint
    st_lineinterpolatepoints st_longfromgeohash st_longitude st_makeenvelope st_numinteriorring
    st_pointatdistance st_pointfromgeohash st_simplify st_swapxy st_transform st_validate
    statement_digest statement_digest_text string_to_vector to_vector uuid_to_bin uuid_v4 uuid_v7
    vec_distance vec_distance_cosine vec_distance_euclidean vec_fromtext vec_totext vector_dim
    vector_to_string
    """,
)

FUNCTIONS: Final = BUILT_IN | ELSEWHERE
