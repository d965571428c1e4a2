"""The words that, right before an opening parenthesis, cannot change an Oracle session.

`KEYWORDS` are no functions at all, `FUNCTIONS` read or compute. Functions in packages are not
trusted, for a package keeps variables in the session, but for those of `PACKAGED`.
https://docs.oracle.com/en/database/oracle/oracle-database/19/sqlrf/Functions.html
"""

from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


KEYWORDS: Final = _words(
    """
    all and any apply as asc between by case char character check columns connect cross cube cursor
    date day dec decimal default delete desc distinct double else end error escape except exists
    fetch first float following for from full group having hour in inner insert int integer
    intersect interval into is join json keep last lateral left like like2 like4 likec limit
    materialized matched minus minute month multiset nchar next not null nulls number numeric
    nvarchar2 of offset on only or order outer over partition passing path pivot preceding precision
    prior raw real returning right rollup row rows sample second select sets set siblings skip
    smallint some start subpartition table then timestamp to union unique unpivot using values
    varchar varchar2 varying when where with within xmlnamespaces year zone
    """,
)

FUNCTIONS: Final = _words(
    """
    abs acos add_months any_value approx_count approx_count_distinct approx_median
    approx_percentile approx_rank approx_sum ascii asciistr asin atan atan2 avg bfilename
    bin_to_num bit_and_agg bit_or_agg bit_xor_agg bitand bitor bitxor boolean_and_agg
    boolean_or_agg cardinality cast ceil ceiling chartorowid checksum chr coalesce collation collect
    compose concat convert corr corr_k corr_s cos cosh count covar_pop covar_samp cume_dist
    current_timestamp cv decode decompose dense_rank depth deref dump empty_blob empty_clob every
    exp extract extractvalue first_value floor from_tz fuzzy_match greatest group_id grouping
    grouping_id hextoraw initcap instr instr2 instr4 instrb instrc iteration_number json_array
    json_arrayagg json_dataguide json_equal json_exists json_mergepatch json_object json_objectagg
    json_query json_scalar json_serialize json_table json_textcontains json_transform json_value
    kurtosis_pop kurtosis_samp lag last_day last_value lead least length length2 length4 lengthb
    lengthc listagg ln lnnvl localtimestamp log lower lpad ltrim make_ref max median min mod
    months_between nanvl nchr new_time next_day nls_charset_decl_len nls_charset_id nls_charset_name
    nls_collation_id nls_collation_name nls_initcap nls_lower nls_upper nlssort nth_value ntile
    nullif numtodsinterval numtoyminterval nvl nvl2 ora_dst_affected ora_dst_convert ora_dst_error
    ora_hash ora_invoking_user percent_rank percentile_cont percentile_disc phonic_encode power
    powermultiset powermultiset_by_cardinality rank ratio_to_report rawtohex rawtonhex ref reftohex
    regexp_count regexp_instr regexp_like regexp_replace regexp_substr regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy remainder replace round
    round_ties_to_even row_number rowidtochar rowidtonchar rpad rtrim scn_to_timestamp
    sessiontimezone sign sin sinh skewness_pop skewness_samp soundex sqrt standard_hash
    stats_binomial_test stats_crosstab stats_f_test stats_ks_test stats_mode stats_mw_test
    stats_one_way_anova stats_t_test_indep stats_t_test_indepu stats_t_test_one stats_t_test_paired
    stats_wsr_test stddev stddev_pop stddev_samp substr substr2 substr4 substrb substrc sum
    sys_connect_by_path sys_context sys_dburigen sys_extract_utc sys_guid sys_op_undescend
    sys_typeid sys_xmlagg sys_xmlgen tan tanh timestamp_to_scn to_approx_count_distinct
    to_approx_percentile to_binary_double to_binary_float to_blob to_boolean to_char to_clob to_date
    to_dsinterval to_lob to_multi_byte to_nchar to_nclob to_number to_single_byte to_timestamp
    to_timestamp_tz to_utc_timestamp_tz to_vector to_yminterval translate treat trim trunc tz_offset
    unistr upper userenv uuid validate_conversion value var_pop var_samp variance vsize
    width_bucket xmlagg xmlcast xmlcdata xmlcolattval xmlcomment xmlconcat xmldiff xmlelement
    xmlexists xmlforest xmlisvalid xmlparse xmlpatch xmlpi xmlquery xmlroot xmlsequence
    xmlserialize xmltable xmltransform xmltype
    """,
)

#: What Django's own queries use. They read their arguments, or are random by purpose.
PACKAGED: Final = _words(
    """
    dbms_lob.compare dbms_lob.getlength dbms_lob.instr dbms_lob.substr
    dbms_random.random dbms_random.string dbms_random.value
    """,
)
