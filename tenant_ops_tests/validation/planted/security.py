"""Planted faults, security level: rights that reach too far."""

SECURITY = {
    "everybody may read": (
        ["GRANT SELECT ON users TO PUBLIC"],
        {"security.foreign_grants/users to PUBLIC": 1},
    ),
    "everybody may enter": (
        ["GRANT USAGE ON SCHEMA $schema TO PUBLIC"],
        {"security.foreign_grants/schema $schema to PUBLIC": 1},
    ),
    "another tenant may read one column": (
        ["CREATE ROLE t_other_adm", "GRANT SELECT (email) ON users TO t_other_adm"],
        {"security.foreign_grants/users.email to t_other_adm": 1},
    ),
    "another tenant may read what comes": (
        [
            "CREATE ROLE t_other_adm",
            "ALTER DEFAULT PRIVILEGES FOR ROLE $own IN SCHEMA $schema GRANT SELECT ON TABLES TO t_other_adm",
        ],
        {"security.foreign_grants/later objects of kind r to t_other_adm": 1},
    ),
    "the tenant's login sees quarantined rows": (
        ["GRANT SELECT ON $stage.quarantine TO $edt"],
        {"security.foreign_grants/quarantine to $edt": 1},
    ),
    "a viewer who writes": (
        ["GRANT INSERT ON tracks TO $vwr"],
        {"security.role_rights/tracks for $vwr": 1},
    ),
    "an editor locked out": (
        ["REVOKE ALL ON tracks FROM $edt"],
        {"security.role_rights/tracks for $edt": 1},
    ),
    "a table of the operator": (
        ["ALTER TABLE tracks OWNER TO CURRENT_USER"],
        {"security.ownership/tracks": 1},
    ),
    "another tenant in the group": (
        ["CREATE ROLE t_other_app LOGIN", "GRANT $edt TO t_other_app"],
        {"security.memberships/t_other_app in $edt": 1},
    ),
    "the login in a powerful group": (
        ["GRANT pg_read_all_data TO $app"],
        {"security.memberships/$app in pg_read_all_data": 1},
    ),
    "a superuser": (
        ["ALTER ROLE $app SUPERUSER"],
        {"security.role_attributes/role $app": 1},
    ),
    "a login above row security": (
        ["ALTER ROLE $app BYPASSRLS"],
        {"security.role_attributes/role $app": 1},
    ),
    "a group that logs in": (
        ["ALTER ROLE $adm LOGIN"],
        {"security.role_attributes/login of $adm": 1},
    ),
    "no connection limit": (
        ["ALTER ROLE $app CONNECTION LIMIT -1"],
        {"security.login_limits/login connection limit": 1},
    ),
    "a function that trusts its caller": (
        [
            "SET ROLE $own",
            "CREATE FUNCTION everyone() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
            "AS 'SELECT count(*) FROM users'",
        ],
        {"security.definer_functions/function everyone()": 1},
    ),
    "a reference from outside": (
        [
            "CREATE SCHEMA elsewhere",
            "CREATE TABLE elsewhere.likes (track_id uuid REFERENCES tracks)",
        ],
        {"security.crossing_references/likes.likes_track_id_fkey": 1},
    ),
}
