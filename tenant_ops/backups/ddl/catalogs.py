"""What is asked of the catalogs, as SQL.

Here: the queries. Not here: which are asked when (`queries.py`), what their rows become (`tables.py`, ...).

Everything is found by object ids through an index, never by looking at all rows of a catalog.
"""

# An access list as [role (null is everyone), privilege, with grant option, given by]; null is the default.
_RIGHTS = """
       CASE WHEN <column> IS NOT NULL THEN COALESCE((
           SELECT json_agg(json_build_array(CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                            x.privilege_type, x.is_grantable, pg_get_userbyid(x.grantor)))
           FROM aclexplode(<column>) x), '[]') END AS acl"""


def _with_rights(column: str, query: str) -> str:
    return query.replace("<rights>", _RIGHTS.replace("<column>", column))


SCHEMA = _with_rights(
    "n.nspacl",
    """
SELECT n.oid, n.nspname, r.rolname AS owner, <rights>
FROM pg_namespace n JOIN pg_roles r ON r.oid = n.nspowner
WHERE n.nspname = %(schema)s
""",
)

MEMBERS = """
SELECT d.classid::regclass::text AS catalog, d.objid, e.extname AS extension,
       i.type, i.identity
FROM pg_depend d
LEFT JOIN pg_depend x ON x.classid = d.classid AND x.objid = d.objid AND x.objsubid = 0 AND x.deptype = 'e'
LEFT JOIN pg_extension e ON e.oid = x.refobjid
LEFT JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i
       ON d.classid NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_proc'::regclass,
                            'pg_statistic_ext'::regclass, 'pg_default_acl'::regclass)
WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = %(schema)s
ORDER BY d.classid, d.objid
"""

RELATIONS = _with_rights(
    "c.relacl",
    """
SELECT c.oid, c.relname AS name, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity,
       c.relforcerowsecurity, c.relreplident, c.reloptions, c.relispopulated, c.reltype,
       CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type, p.spcname AS tablespace,
       r.rolname AS owner, <rights>,
       am.amname AS method, t.reloptions AS toast_options,
       CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key,
       CASE WHEN c.relispartition THEN pg_get_expr(c.relpartbound, c.oid) END AS partition_bound,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS view_definition
FROM pg_class c
JOIN pg_roles r ON r.oid = c.relowner
LEFT JOIN pg_am am ON am.oid = c.relam
LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
LEFT JOIN pg_tablespace p ON p.oid = c.reltablespace
WHERE c.oid = ANY(%(ids)s)
ORDER BY c.relname
""",
)

COLUMNS = _with_rights(
    "a.attacl",
    """
SELECT a.attrelid, a.attnum, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull, a.attidentity, a.attgenerated, a.attislocal, <rights>,
       a.attoptions, a.attstattarget,
       CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END AS collation,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage END AS storage,
       a.attcompression AS compression, d.oid AS default_oid, pg_get_expr(d.adbin, d.adrelid) AS default
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%(ids)s) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
""",
)

SEQUENCES = """
SELECT s.seqrelid AS oid, format_type(s.seqtypid, NULL) AS type, s.seqstart, s.seqincrement, s.seqmin,
       s.seqmax, s.seqcache, s.seqcycle, d.deptype, d.refobjid AS owner_table, d.refobjsubid AS owner_column
FROM pg_sequence s
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.objsubid = 0
      AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
WHERE s.seqrelid = ANY(%(ids)s)
"""

TYPES = _with_rights(
    "t.typacl",
    """
SELECT t.oid, t.typname AS name, t.typtype, t.typrelid, t.typnotnull,
       pg_get_expr(t.typdefaultbin, 'pg_type'::regclass) AS default,
       r.rolname AS owner, <rights>,
       CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS base,
       CASE WHEN t.typcollation NOT IN (0, b.typcollation) THEN t.typcollation::regcollation::text END
           AS collation,
       (SELECT array_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)
           AS labels,
       format_type(g.rngsubtype, NULL) AS subtype, g.rngmultitypid, m.typname AS multirange,
       CASE WHEN g.rngcollation <> 0 THEN g.rngcollation::regcollation::text END AS range_collation,
       NULLIF(g.rngcanonical, 0)::regproc::text AS canonical,
       NULLIF(g.rngsubdiff, 0)::regproc::text AS subtype_diff,
       CASE WHEN NOT o.opcdefault THEN quote_ident(n.nspname) || '.' || quote_ident(o.opcname) END AS opclass
FROM pg_type t
JOIN pg_roles r ON r.oid = t.typowner
LEFT JOIN pg_type b ON b.oid = t.typbasetype
LEFT JOIN pg_range g ON g.rngtypid = t.oid
LEFT JOIN pg_type m ON m.oid = g.rngmultitypid
LEFT JOIN pg_opclass o ON o.oid = g.rngsubopc
LEFT JOIN pg_namespace n ON n.oid = o.opcnamespace
WHERE t.oid = ANY(%(ids)s)
ORDER BY t.typname
""",
)

FUNCTIONS = _with_rights(
    "COALESCE(p.proacl, acldefault('f', p.proowner))",
    """
SELECT p.oid, p.proname AS name, p.prokind, l.lanname AS language, l.lanpltrusted AS trusted,
       r.rolname AS owner, <rights>,
       pg_get_function_identity_arguments(p.oid) AS arguments,
       oidvectortypes(p.proargtypes) AS argument_types, p.proleakproof, p.proconfig,
       NULLIF(p.prosupport, 0)::regproc::text AS support,
       CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END AS definition
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang
JOIN pg_roles r ON r.oid = p.proowner
WHERE p.oid = ANY(%(ids)s)
  -- A range type makes its own constructors.
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid
                  AND d.deptype = 'i')
ORDER BY p.proname, p.oid
""",
)

CONSTRAINTS = """
SELECT c.oid, c.conname AS name, c.contype, c.conrelid, c.contypid, c.conindid, c.conparentid, c.conislocal,
       c.coninhcount, c.conkey, c.convalidated, c.connoinherit,
       CASE WHEN c.contype <> 'n' OR NOT c.convalidated THEN pg_get_constraintdef(c.oid) END AS definition
FROM pg_constraint c
WHERE c.conrelid = ANY(%(tables)s)
UNION ALL
SELECT c.oid, c.conname, c.contype, c.conrelid, c.contypid, c.conindid, c.conparentid, c.conislocal,
       c.coninhcount, c.conkey, c.convalidated, c.connoinherit, pg_get_constraintdef(c.oid)
FROM pg_constraint c
WHERE c.conrelid = 0 AND c.contypid = ANY(%(types)s)
ORDER BY name
"""

INDEXES = """
SELECT c.oid, c.relname AS name, i.indrelid, i.indisvalid, i.indisclustered, i.indisreplident, c.relkind,
       c.reloptions, p.spcname AS tablespace, pg_get_indexdef(c.oid) AS definition,
       CASE WHEN i.indexprs IS NOT NULL THEN (
           SELECT array_agg(ARRAY[a.attnum, a.attstattarget] ORDER BY a.attnum) FROM pg_attribute a
           WHERE a.attrelid = c.oid AND a.attstattarget >= 0) END AS targets
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_tablespace p ON p.oid = c.reltablespace
WHERE i.indrelid = ANY(%(tables)s)
ORDER BY c.relname
"""

# The journal's own triggers belong to the journal: a restored schema gets new ones, or none. The copy that a
# partition has of its parent's trigger is here only where it differs.
TRIGGERS = """
SELECT t.oid, t.tgname AS name, t.tgrelid, t.tgenabled, t.tgparentid,
       CASE WHEN t.tgparentid = 0 THEN pg_get_triggerdef(t.oid) END AS definition
FROM pg_trigger t
LEFT JOIN pg_trigger p ON p.oid = t.tgparentid
WHERE t.tgrelid = ANY(%(tables)s) AND NOT t.tgisinternal
  AND (t.tgparentid = 0 OR t.tgenabled <> p.tgenabled
       OR EXISTS (SELECT FROM pg_description d
                  WHERE d.classoid = 'pg_trigger'::regclass AND d.objoid = t.oid))
  AND NOT (starts_with(t.tgname, 'tenant_ops_journal_')
           AND (SELECT f.pronamespace FROM pg_proc f WHERE f.oid = t.tgfoid)
               IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname = %(stage)s))
ORDER BY t.tgname
"""

RULES = """
SELECT r.oid, r.rulename AS name, r.ev_class, r.ev_enabled,
       CASE WHEN r.rulename <> '_RETURN' THEN pg_get_ruledef(r.oid) END AS definition
FROM pg_rewrite r
WHERE r.ev_class = ANY(%(tables)s)
ORDER BY r.rulename
"""

POLICIES = """
SELECT p.oid, p.polname AS name, p.polrelid, p.polcmd, p.polpermissive,
       (SELECT array_agg(CASE WHEN o = 0 THEN 'public' ELSE o::regrole::text END ORDER BY o)
        FROM unnest(p.polroles) o) AS roles,
       (SELECT array_agg(r.rolname) FROM pg_roles r WHERE r.oid = ANY(p.polroles)) AS role_names,
       pg_get_expr(p.polqual, p.polrelid) AS using, pg_get_expr(p.polwithcheck, p.polrelid) AS with_check
FROM pg_policy p
WHERE p.polrelid = ANY(%(tables)s)
ORDER BY p.polname
"""

STATISTICS = """
SELECT s.oid, s.stxname AS name, s.stxrelid, s.stxstattarget, pg_get_statisticsobjdef(s.oid) AS definition
FROM pg_statistic_ext s
WHERE s.oid = ANY(%(ids)s)
ORDER BY s.stxname
"""

INHERITS = """
SELECT i.inhrelid, i.inhparent, i.inhdetachpending, c.relname AS parent_name, n.nspname AS parent_schema,
       c.relkind
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhparent
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhrelid = ANY(%(ids)s)
ORDER BY i.inhrelid, i.inhseqno
"""

# Collations of the operating system and of ICU come with a server, but not with every server.
# OFFSET 0 keeps the last condition out of the inner query. Where the catalogs have no statistics yet, it
# would seem to leave three rows of pg_depend, which are in fact all of the database: 0.3 s with 400 tenants.
DEPENDENCIES = """
SELECT o.catalog, o.id AS objid, d.refclassid::regclass::text AS refcatalog, d.refobjid, d.deptype,
       COALESCE(NULLIF(t.typelem, 0), NULLIF(g.rngtypid, 0), 0) AS element, t.typrelid AS row_of,
       e.extname AS extension
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id)
CROSS JOIN LATERAL (
    SELECT refclassid, refobjid, deptype FROM pg_depend
    WHERE classid = o.catalog::regclass AND objid = o.id OFFSET 0
) d
LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
LEFT JOIN pg_range g ON d.refclassid = 'pg_type'::regclass AND g.rngmultitypid = d.refobjid
LEFT JOIN pg_depend x ON x.classid = d.refclassid AND x.objid = d.refobjid AND x.objsubid = 0
                     AND x.deptype = 'e'
LEFT JOIN pg_extension e
       ON e.oid = COALESCE(x.refobjid, CASE WHEN d.refclassid = 'pg_extension'::regclass THEN d.refobjid END)
WHERE (d.refobjid >= 16384 AND d.refclassid <> 'pg_namespace'::regclass)
   OR d.refclassid = 'pg_collation'::regclass
"""

COMMENTS = """
SELECT o.catalog, o.id AS objid, d.objsubid, d.description
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id)
JOIN pg_description d ON d.classoid = o.catalog::regclass AND d.objoid = o.id
ORDER BY d.objoid, d.objsubid
"""

DEFAULT_RIGHTS = _with_rights(
    "a.defaclacl",
    """
SELECT a.oid, a.defaclobjtype AS kind, r.rolname AS owner, <rights>
FROM pg_default_acl a JOIN pg_roles r ON r.oid = a.defaclrole
WHERE a.oid = ANY(%(ids)s)
ORDER BY a.defaclobjtype
""",
)

# What is not in the schema but hangs on something that is: casts and transforms on its types, publications of
# its tables, and labels a security module put on anything.
ATTACHED = """
SELECT d.classid::regclass::text AS catalog, d.objid, NULL AS name, NULL AS of
FROM pg_depend d
WHERE d.refclassid = 'pg_type'::regclass AND d.classid IN ('pg_cast'::regclass, 'pg_transform'::regclass)
  AND d.refobjid = ANY(%(types)s)
  AND NOT EXISTS (SELECT FROM pg_depend x
                  WHERE x.classid = d.classid AND x.objid = d.objid AND x.deptype IN ('e', 'i'))
UNION
SELECT 'pg_publication', b.oid, b.pubname, c.relname
FROM pg_publication_rel p JOIN pg_publication b ON b.oid = p.prpubid JOIN pg_class c ON c.oid = p.prrelid
WHERE p.prrelid = ANY(%(tables)s)
UNION
SELECT 'pg_publication', b.oid, b.pubname, NULL
FROM pg_publication_namespace p JOIN pg_publication b ON b.oid = p.pnpubid
WHERE p.pnnspid = %(schema)s
UNION
SELECT 'pg_largeobject', d.objid, NULL, NULL
FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname = ANY(%(roles)s)
  AND d.classid = 'pg_largeobject'::regclass AND d.deptype = 'o'
  AND d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database())
UNION
SELECT 'pg_seclabel', 0, NULL, NULL WHERE EXISTS (SELECT FROM pg_seclabel)
ORDER BY 1, 3, 4
"""

LABELS = """
SELECT l.provider, count(*) AS number
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id)
JOIN pg_seclabel l ON l.classoid = o.catalog::regclass AND l.objoid = o.id
GROUP BY l.provider ORDER BY l.provider
"""

IDENTITIES = """
SELECT o.catalog, o.id AS objid, i.type, i.identity, a.object_names, a.object_args
FROM unnest(%(catalogs)s::text[], %(ids)s::oid[]) AS o(catalog, id),
LATERAL pg_identify_object(o.catalog::regclass, o.id, 0) i,
LATERAL pg_identify_object_as_address(o.catalog::regclass, o.id, 0) a
"""

PRIVILEGED_SETTINGS = """
SELECT s.name FROM pg_settings s
WHERE s.name = ANY(%(names)s) AND s.context <> 'user'
  AND NOT has_parameter_privilege(%(owner)s, s.name, 'SET')
"""

# Queries of kinds most schemas have none of: asked only where there is one, by the catalog it lies in.
RARE = {
    "pg_aggregate": """
        SELECT a.aggfnoid::oid AS oid, a.aggkind, a.aggtransfn::text AS sfunc,
               format_type(a.aggtranstype, NULL) AS stype, a.aggtransspace AS sspace,
               NULLIF(a.aggfinalfn, 0)::regproc::text AS finalfunc, a.aggfinalextra, a.aggfinalmodify,
               NULLIF(a.aggcombinefn, 0)::regproc::text AS combinefunc,
               NULLIF(a.aggserialfn, 0)::regproc::text AS serialfunc,
               NULLIF(a.aggdeserialfn, 0)::regproc::text AS deserialfunc, a.agginitval AS initcond,
               NULLIF(a.aggmtransfn, 0)::regproc::text AS msfunc,
               NULLIF(a.aggminvtransfn, 0)::regproc::text AS minvfunc,
               CASE WHEN a.aggmtranstype <> 0 THEN format_type(a.aggmtranstype, NULL) END AS mstype,
               a.aggmtransspace AS msspace, NULLIF(a.aggmfinalfn, 0)::regproc::text AS mfinalfunc,
               a.aggmfinalextra, a.aggmfinalmodify, a.aggminitval AS minitcond,
               (SELECT 'OPERATOR(' || quote_ident(n.nspname) || '.' || o.oprname || ')'
                FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace
                WHERE o.oid = a.aggsortop) AS sortop, p.proparallel
        FROM pg_aggregate a JOIN pg_proc p ON p.oid = a.aggfnoid
        WHERE a.aggfnoid = ANY(%(ids)s)
    """,
    "pg_operator": """
        SELECT o.oid, o.oprname AS name, o.oprcode::text AS function, o.oprcanhash, o.oprcanmerge,
               CASE WHEN o.oprleft <> 0 THEN format_type(o.oprleft, NULL) END AS left,
               format_type(o.oprright, NULL) AS right,
               NULLIF(o.oprrest, 0)::regproc::text AS restrict, NULLIF(o.oprjoin, 0)::regproc::text AS join,
               (SELECT 'OPERATOR(' || quote_ident(n.nspname) || '.' || c.oprname || ')'
                FROM pg_operator c JOIN pg_namespace n ON n.oid = c.oprnamespace
                WHERE c.oid = o.oprcom) AS commutator,
               (SELECT 'OPERATOR(' || quote_ident(n.nspname) || '.' || c.oprname || ')'
                FROM pg_operator c JOIN pg_namespace n ON n.oid = c.oprnamespace
                WHERE c.oid = o.oprnegate) AS negator
        FROM pg_operator o
        WHERE o.oid = ANY(%(ids)s) AND o.oprcode <> 0
    """,
    "pg_cast": """
        SELECT c.oid, format_type(c.castsource, NULL) AS source, format_type(c.casttarget, NULL) AS target,
               c.castcontext, c.castmethod, NULLIF(c.castfunc, 0)::regprocedure::text AS function
        FROM pg_cast c
        WHERE c.oid = ANY(%(ids)s)
    """,
    "pg_collation": """
        SELECT c.oid, c.collname AS name, c.collprovider AS provider, c.collisdeterministic AS deterministic,
               c.collcollate, c.collctype, to_jsonb(c) ->> 'collicurules' AS rules,
               COALESCE(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale') AS locale
        FROM pg_collation c
        WHERE c.oid = ANY(%(ids)s)
    """,
    "pg_conversion": """
        SELECT c.oid, c.conname AS name, pg_encoding_to_char(c.conforencoding) AS source,
               pg_encoding_to_char(c.contoencoding) AS target, c.conproc::text AS function, c.condefault
        FROM pg_conversion c
        WHERE c.oid = ANY(%(ids)s)
    """,
    "pg_ts_dict": """
        SELECT d.oid, d.dictname AS name, d.dictinitoption AS options,
               quote_ident(n.nspname) || '.' || quote_ident(t.tmplname) AS template
        FROM pg_ts_dict d
        JOIN pg_ts_template t ON t.oid = d.dicttemplate
        JOIN pg_namespace n ON n.oid = t.tmplnamespace
        WHERE d.oid = ANY(%(ids)s)
    """,
    "pg_ts_config": """
        SELECT c.oid, c.cfgname AS name, quote_ident(n.nspname) || '.' || quote_ident(p.prsname) AS parser,
               (SELECT json_agg(json_build_array(m.token, m.dictionaries) ORDER BY m.token) FROM (
                    SELECT t.alias AS token, string_agg(m.mapdict::regdictionary::text, ', '
                                                        ORDER BY m.mapseqno) AS dictionaries
                    FROM pg_ts_config_map m
                    JOIN ts_token_type(c.cfgparser) t ON t.tokid = m.maptokentype
                    WHERE m.mapcfg = c.oid GROUP BY t.alias) m) AS mappings
        FROM pg_ts_config c
        JOIN pg_ts_parser p ON p.oid = c.cfgparser
        JOIN pg_namespace n ON n.oid = p.prsnamespace
        WHERE c.oid = ANY(%(ids)s)
    """,
}
