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
        {
            "security.memberships/$app in pg_read_all_data": 1,
            "security.control_plane_rights/schema tenant_ops to $app": 1,
        },
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
    "the neighbour's editors may read": (
        ["GRANT USAGE ON SCHEMA $schema TO $their_edt", "GRANT SELECT ON users TO $their_edt"],
        {
            "security.foreign_grants/schema $schema to $their_edt": 1,
            "security.foreign_grants/users to $their_edt": 1,
            "security.inherited_reach/$their_app through $their_edt": 1,
        },
    ),
    "the neighbour by a detour": (
        ["CREATE ROLE halfway", "GRANT $edt TO halfway", "GRANT halfway TO $their_app"],
        {
            "security.memberships/halfway in $edt": 1,
            "security.inherited_reach/$their_app through halfway": 1,
        },
    ),
    "the neighbour reads everything": (
        ["GRANT pg_read_all_data TO $their_app"],
        {"security.inherited_reach/$their_app through pg_read_all_data": 1},
    ),
    "a view of the neighbour's": (
        ["CREATE VIEW $their_schema.spied AS SELECT title FROM tracks"],
        {"security.crossing_objects/view spied": 1},
    ),
    "a view on the neighbour's table": (
        [
            "CREATE VIEW borrowed AS SELECT email FROM $their_schema.users",
            "ALTER VIEW borrowed OWNER TO $own",
        ],
        {"security.crossing_objects/view borrowed": 1},
    ),
    "a trigger that runs the neighbour's function": (
        [
            "CREATE FUNCTION $their_schema.listen() RETURNS trigger LANGUAGE plpgsql "
            "AS 'BEGIN RETURN NEW; END'",
            "CREATE TRIGGER heard AFTER INSERT ON tracks FOR EACH ROW "
            "EXECUTE FUNCTION $their_schema.listen()",
        ],
        {"security.crossing_objects/trigger tracks.heard": 1},
    ),
    "a function that names the neighbour": (
        [
            "SET ROLE $own",
            "CREATE FUNCTION peek() RETURNS bigint LANGUAGE plpgsql "
            "AS 'BEGIN RETURN (SELECT count(*) FROM $their_schema.users); END'",
        ],
        {"security.crossing_objects/function peek() to $their_schema": 1},
    ),
    "a table that inherits from outside": (
        ["CREATE SCHEMA elsewhere", "CREATE TABLE elsewhere.copies () INHERITS (tracks)"],
        {"security.crossing_objects/inheritance copies": 1},
    ),
    "quarantined rows shown by a view": (
        ["SET ROLE $own", "CREATE VIEW bad_rows AS SELECT reason FROM $stage.quarantine"],
        {
            "security.definer_views/view bad_rows to $adm": 1,
            "security.definer_views/view bad_rows to $edt": 1,
            "security.definer_views/view bad_rows to $vwr": 1,
        },
    ),
    "viewers who will write": (
        ["ALTER DEFAULT PRIVILEGES FOR ROLE $own IN SCHEMA $schema GRANT INSERT ON TABLES TO $vwr"],
        {"security.default_privileges/later tables for $vwr": 1},
    ),
    "functions everybody will call": (
        ["ALTER DEFAULT PRIVILEGES FOR ROLE $own GRANT EXECUTE ON FUNCTIONS TO PUBLIC"],
        {"security.default_privileges/later functions to PUBLIC": 1},
    ),
    "tables everybody will read, wherever they are": (
        ["ALTER DEFAULT PRIVILEGES FOR ROLE $edt GRANT SELECT ON TABLES TO PUBLIC"],
        {"security.default_privileges/later tables of $edt to PUBLIC": 1},
    ),
    "everybody may create": (
        ["GRANT CREATE ON SCHEMA public TO PUBLIC"],
        {"security.public_rights/CREATE on schema public to PUBLIC": 1},
    ),
    "editors in the control plane": (
        ["GRANT USAGE ON SCHEMA tenant_ops TO $edt"],
        {
            "security.control_plane_rights/schema tenant_ops to $app": 1,
            "security.control_plane_rights/schema tenant_ops to $edt": 1,
            "security.rights_elsewhere/schema tenant_ops of $edt": 1,
        },
    ),
    "viewers who read the neighbour": (
        ["GRANT SELECT ON $their_schema.users TO $vwr"],
        {"security.rights_elsewhere/table $their_schema.users of $vwr": 1},
    ),
    "a large object": (
        ["SELECT lo_create(4242)", "ALTER LARGE OBJECT 4242 OWNER TO $app"],
        {"security.owned_elsewhere/large object 4242 of $app": 1},
    ),
    "a publication": (
        ["CREATE PUBLICATION news", "ALTER PUBLICATION news OWNER TO $own"],
        {"security.owned_elsewhere/publication news of $own": 1},
    ),
    "a foreign server": (
        [
            "CREATE FOREIGN DATA WRAPPER far",
            "CREATE SERVER away FOREIGN DATA WRAPPER far",
            "ALTER SERVER away OWNER TO $app",
        ],
        {"security.owned_elsewhere/server away of $app": 1},
    ),
    "a function that temporary tables can fool": (
        [
            "SET ROLE $own",
            "CREATE FUNCTION everyone() RETURNS bigint LANGUAGE sql SECURITY DEFINER "
            "SET search_path = $schema AS 'SELECT count(*) FROM users'",
        ],
        {"security.definer_functions/function everyone()": 1},
    ),
    "a function in an untrusted language": (
        [
            "CREATE FUNCTION low(text) RETURNS text LANGUAGE internal AS 'lower'",
            "ALTER FUNCTION low(text) OWNER TO $own",
            "REVOKE ALL ON FUNCTION low(text) FROM PUBLIC",
        ],
        {"security.untrusted_functions/function low(text)": 1},
    ),
    "row security and no policy": (
        ["ALTER TABLE tracks ENABLE ROW LEVEL SECURITY"],
        {
            "security.row_security_without_policy/tracks": 1,
            "security.row_security_not_forced/tracks": 1,
        },
    ),
    "row security that spares the owner": (
        [
            "ALTER TABLE tracks ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY short ON tracks USING (NOT explicit)",
        ],
        {"security.row_security_not_forced/tracks": 1},
    ),
    "a policy that is off": (
        ["CREATE POLICY short ON tracks USING (NOT explicit)"],
        {"security.policy_without_row_security/tracks.short": 1},
    ),
    "a policy that lets everything through": (
        [
            "ALTER TABLE tracks ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE tracks FORCE ROW LEVEL SECURITY",
            "CREATE POLICY anything ON tracks USING (true)",
        ],
        {"security.policy_always_true/tracks.anything": 1},
    ),
    "addresses in titles": (
        ["UPDATE tracks SET title = 'mary.' || track_id || '@songs.example'"],
        {"security.undeclared_personal_data/tracks.title: email": 30},
    ),
    "bank accounts in settings": (
        ["""UPDATE integrations SET settings = '{"account": ["DE89 3704 0044 0532 0130 00"]}'"""],
        {"security.undeclared_personal_data/integrations.settings: iban": 4},
    ),
    "a column of card numbers nobody defined": (
        [
            "ALTER TABLE users ADD COLUMN paid_with bigint",
            "UPDATE users SET paid_with = 4111111111111111",
        ],
        {
            "schema.extra_column/users.paid_with": 1,
            "security.undeclared_personal_data/users.paid_with: card": 20,
        },
    ),
    "a password in settings": (
        ["""UPDATE integrations SET settings = '{"queue": "amqp://songs:Tr0ub4dor@mq.example"}'"""],
        {"security.secrets_in_values/integrations.settings: url_password": 4},
    ),
    "one private key in a message": (
        [
            "UPDATE ai_messages SET body = '-----BEGIN PRIVATE ' || 'KEY-----' "
            "WHERE ai_message_id = (SELECT ai_message_id FROM ai_messages LIMIT 1)"
        ],
        {"security.secrets_in_values/ai_messages.body: private_key": 1},
    ),
    "a password kept as MD5": (
        ["SET LOCAL password_encryption = 'md5'", "ALTER ROLE $app PASSWORD 'melody'"],
        {"security.password_hashing/role $app": 1},
    ),
    "a login without a password": (
        ["ALTER ROLE $app PASSWORD NULL"],
        {"security.password_hashing/role $app": 1},
    ),
    "a group with a password": (
        ["ALTER ROLE $edt PASSWORD 'melody'"],
        {"security.password_hashing/role $edt": 1},
    ),
    "a password that ran out": (
        ["ALTER ROLE $app VALID UNTIL '2020-01-01'"],
        {"security.password_validity/role $app": 1},
    ),
    "a credential nobody can log in with": (
        ["ALTER ROLE $app NOLOGIN"],
        {"security.stale_credentials/credential login": 1},
    ),
}
