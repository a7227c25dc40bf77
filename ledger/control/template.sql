-- What is asked while a template is made, and while a copy of it becomes a tenant's database.

-- name: lock_template
SELECT pg_advisory_lock(hashtextextended('daicho.template:' || $1, 0))

-- name: state
-- NULL where it is not there; false where its making was interrupted.
SELECT NOT datallowconn FROM pg_database WHERE datname = $1

-- name: others
-- Templates of other revisions: nobody needs them after a migration.
SELECT datname FROM pg_database WHERE datname LIKE 'daicho\_template\_%' AND datname <> $1

-- name: adoption
-- The commands that turn what a template's roles own and may in this copy of it over to the roles of
-- database $1; none where that is done. $2 are the roles' purposes. What an owner may goes with the object.
WITH role AS (
    SELECT r.oid, quote_ident(r.rolname) AS old, quote_ident($1 || '_' || purpose) AS new
      FROM pg_roles AS r JOIN unnest($2::text[]) AS purpose ON r.rolname LIKE 'daicho\_template\_%\_' || purpose
     WHERE r.oid IN (SELECT d.refobjid FROM pg_shdepend AS d JOIN pg_database AS b ON b.oid = d.dbid
                      WHERE b.datname = current_database() AND d.refclassid = 'pg_authid'::regclass)
), object (kind, name, acl) AS (
    SELECT 'SCHEMA', quote_ident(nspname), nspacl FROM pg_namespace
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, oid::regclass::text, relacl FROM pg_class
    UNION ALL
    SELECT 'ROUTINE', oid::regprocedure::text, proacl FROM pg_proc
), granted AS (
    SELECT kind, privilege_type, old, new, string_agg(name, ', ' ORDER BY name) AS names
      FROM object CROSS JOIN aclexplode(acl) AS a JOIN role ON role.oid = a.grantee
     WHERE a.grantee <> a.grantor
     GROUP BY kind, privilege_type, old, new
), by_default AS (
    SELECT owner.old AS old_owner, owner.new AS new_owner, quote_ident(n.nspname) AS schema,
           CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'f' THEN 'ROUTINES' WHEN 'S' THEN 'SEQUENCES' END AS kind,
           a.privilege_type, grantee.old AS old_grantee, grantee.new AS new_grantee
      FROM pg_default_acl AS d JOIN role AS owner ON owner.oid = d.defaclrole
      JOIN pg_namespace AS n ON n.oid = d.defaclnamespace
     CROSS JOIN aclexplode(d.defaclacl) AS a JOIN role AS grantee ON grantee.oid = a.grantee
), closed_to_public AS (
    SELECT old, new FROM pg_default_acl AS d JOIN role ON role.oid = d.defaclrole
     WHERE d.defaclnamespace = 0 AND d.defaclobjtype = 'f'
)
SELECT coalesce(string_agg(command, ';' || chr(10) ORDER BY turn, command), '') FROM (
    SELECT 1, format('REASSIGN OWNED BY %s TO %s', old, new) FROM role
    UNION ALL
    SELECT 2, format('GRANT %1$s ON %2$s %3$s TO %4$s; REVOKE %1$s ON %2$s %3$s FROM %5$s',
                     privilege_type, kind, names, new, old) FROM granted
    UNION ALL
    SELECT 3, format('ALTER DEFAULT PRIVILEGES FOR ROLE %1$s IN SCHEMA %2$s GRANT %3$s ON %4$s TO %5$s; '
                     'ALTER DEFAULT PRIVILEGES FOR ROLE %6$s IN SCHEMA %2$s REVOKE %3$s ON %4$s FROM %7$s',
                     new_owner, schema, privilege_type, kind, new_grantee, old_owner, old_grantee) FROM by_default
    UNION ALL
    SELECT 4, format('ALTER DEFAULT PRIVILEGES FOR ROLE %s REVOKE ALL ON ROUTINES FROM PUBLIC; '
                     'ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT EXECUTE ON ROUTINES TO PUBLIC', new, old)
      FROM closed_to_public
) AS todo (turn, command)

-- name: left_over
-- PostgreSQL's own list of what depends on a role: what is left here the adoption does not know of.
SELECT d.classid::regclass::text AS catalogue, r.rolname AS role, d.deptype::text AS how
  FROM pg_shdepend AS d JOIN pg_roles AS r ON r.oid = d.refobjid
 WHERE d.refclassid = 'pg_authid'::regclass AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND r.rolname LIKE 'daicho\_template\_%'
