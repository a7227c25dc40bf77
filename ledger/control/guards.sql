-- What the doctor asks of a tenant's database: catalogues alone, so that any damage can be told of.

-- name: roles
SELECT rolname, rolcanlogin AS may_log_in,
       rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS may_more
  FROM pg_roles WHERE rolname = ANY($1::text[])

-- name: members
SELECT g.rolname AS role, m.rolname AS member
  FROM pg_auth_members AS a JOIN pg_roles AS g ON g.oid = a.roleid JOIN pg_roles AS m ON m.oid = a.member
 WHERE g.rolname = ANY($1::text[]) AND NOT m.rolsuper AND m.rolname <> session_user

-- name: owners
SELECT 'DATABASE' AS kind, datname::text AS object, datdba::regrole::text AS owner
  FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'SCHEMA', nspname, nspowner::regrole::text FROM pg_namespace WHERE nspname IN ('ledger', 'projection')
UNION ALL
SELECT 'TABLE', n.nspname || '.' || c.relname, c.relowner::regrole::text
  FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('ledger', 'projection') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
UNION ALL
SELECT 'ROUTINE', n.nspname || '.' || p.proname, p.proowner::regrole::text
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname IN ('ledger', 'projection', 'public')

-- name: grants
-- Who but its owner may do what with each object; where nothing was ever granted, PostgreSQL's default.
WITH objects (kind, object, owner, acl) AS (
    SELECT 'DATABASE', datname::text, datdba, coalesce(datacl, acldefault('d', datdba))
      FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
      FROM pg_namespace WHERE nspname IN ('ledger', 'projection', 'public')
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, n.nspname || '.' || relname, relowner,
           coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, relowner))
      FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('ledger', 'projection', 'public') AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'TABLE', n.nspname || '.' || relname || ' (' || attname || ')', relowner, attacl
      FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname IN ('ledger', 'projection') AND attacl IS NOT NULL
    UNION ALL
    SELECT 'ROUTINE', n.nspname || '.' || proname, proowner, coalesce(proacl, acldefault('f', proowner))
      FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
     WHERE n.nspname IN ('ledger', 'projection', 'public')
)
SELECT o.kind, o.object, coalesce(r.rolname, 'PUBLIC') AS grantee,
       a.privilege_type || CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END AS privilege
  FROM objects AS o CROSS JOIN aclexplode(o.acl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
 WHERE a.grantee <> o.owner

-- name: default_grants
-- What objects made from now on are granted to whom, beside their owner.
SELECT d.defaclrole::regrole::text AS owner, coalesce(n.nspname, '') AS schema, d.defaclobjtype::text AS kind,
       coalesce(r.rolname, 'PUBLIC') AS grantee, a.privilege_type AS privilege
  FROM pg_default_acl AS d LEFT JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
 CROSS JOIN aclexplode(d.defaclacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
 WHERE a.grantee <> d.defaclrole

-- name: default_revokes
-- Whose new functions are nobody else's.
SELECT defaclrole::regrole::text FROM pg_default_acl
 WHERE defaclnamespace = 0 AND defaclobjtype = 'f'
   AND NOT EXISTS (SELECT FROM aclexplode(defaclacl) AS a WHERE a.grantee = 0)

-- name: triggers
SELECT c.relname || '.' || g.tgname AS name, g.tgenabled::text AS enabled, pg_get_triggerdef(g.oid) AS definition
  FROM pg_trigger AS g JOIN pg_class AS c ON c.oid = g.tgrelid
 WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'ledger') AND NOT g.tgisinternal

-- name: constraints
SELECT c.relname || '.' || k.conname AS name, k.convalidated AS holds
  FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid
 WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'ledger')

-- name: detours
-- What could show or change something else than what the table holds: rules, row-level security.
SELECT 'rule ' || r.rulename || ' on ledger.' || c.relname AS detour
  FROM pg_rewrite AS r JOIN pg_class AS c ON c.oid = r.ev_class
 WHERE c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'ledger') AND c.relkind = 'r'
UNION ALL
SELECT 'row-level security on ledger.' || relname FROM pg_class
 WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'ledger') AND (relrowsecurity OR relforcerowsecurity)

-- name: routines
SELECT p.proname AS name, p.prosecdef AS is_definer, coalesce(p.proconfig, '{}') AS settings, p.prosrc AS body
  FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
 WHERE n.nspname IN ('ledger', 'public')

-- name: settings
SELECT name, setting FROM pg_settings WHERE name = ANY($1::text[])

-- name: session_settings
SELECT name, setting FROM pg_settings WHERE name IN ('synchronous_commit', 'session_replication_role')

-- name: clock
SELECT clock_timestamp()

-- name: commitment
SELECT ledger.payload_commitment_v1($1, $2)

-- name: identity
SELECT tenant_id FROM ledger.identity

-- name: log
SELECT (SELECT position FROM ledger.head) AS head, coalesce((SELECT max(position) FROM ledger.events), 0) AS last
