//! The fields that Parse Server gives to classes (`SchemaController.defaultColumns`), in stored form.

use std::collections::BTreeMap;

use super::{Field, FieldType};

pub(super) fn fields(class: &str) -> BTreeMap<String, Field> {
    let mut fields = BTreeMap::new();
    if !matches!(class, "_Hooks" | "_GlobalConfig" | "_GraphQLConfig") {
        add(
            &mut fields,
            &[
                ("objectId", "String"),
                ("createdAt", "Date"),
                ("updatedAt", "Date"),
            ],
        );
        for column in ["_rperm", "_wperm"] {
            fields.insert(
                column.to_owned(),
                Field {
                    contents_string: true,
                    ..Field::new(FieldType::Array)
                },
            );
        }
    }
    add(&mut fields, of_class(class));
    fields
}

/// `Type` or `Type<Class>`.
fn add(fields: &mut BTreeMap<String, Field>, columns: &[(&str, &str)]) {
    for (name, column_type) in columns {
        let (type_name, target) = match column_type.split_once('<') {
            Some((type_name, target)) => (type_name, Some(target.trim_end_matches('>'))),
            None => (*column_type, None),
        };
        let field_type = FieldType::from_stored(type_name, target)
            .expect("the tables below name existing types");
        fields.insert((*name).to_owned(), Field::new(field_type));
    }
}

fn of_class(class: &str) -> &'static [(&'static str, &'static str)] {
    match class {
        "_User" => USER,
        "_Installation" => INSTALLATION,
        "_Role" => &[
            ("name", "String"),
            ("users", "Relation<_User>"),
            ("roles", "Relation<_Role>"),
        ],
        "_Session" => SESSION,
        "_Product" => PRODUCT,
        "_PushStatus" => PUSH_STATUS,
        "_JobStatus" => JOB_STATUS,
        "_JobSchedule" => JOB_SCHEDULE,
        "_Hooks" => &[
            ("functionName", "String"),
            ("className", "String"),
            ("triggerName", "String"),
            ("url", "String"),
        ],
        "_GlobalConfig" => &[
            ("objectId", "String"),
            ("params", "Object"),
            ("masterKeyOnly", "Object"),
        ],
        "_GraphQLConfig" => &[("objectId", "String"), ("config", "Object")],
        "_Audience" => &[
            ("name", "String"),
            ("query", "String"),
            ("lastUsed", "Date"),
            ("timesUsed", "Number"),
        ],
        "_Idempotency" => &[("reqId", "String"), ("expire", "Date")],
        _ => &[],
    }
}

const USER: &[(&str, &str)] = &[
    ("username", "String"),
    ("email", "String"),
    ("emailVerified", "Boolean"),
    ("authData", "Object"),
    ("_hashed_password", "String"),
];

const INSTALLATION: &[(&str, &str)] = &[
    ("installationId", "String"),
    ("deviceToken", "String"),
    ("channels", "Array"),
    ("deviceType", "String"),
    ("pushType", "String"),
    ("GCMSenderId", "String"),
    ("timeZone", "String"),
    ("localeIdentifier", "String"),
    ("badge", "Number"),
    ("appVersion", "String"),
    ("appName", "String"),
    ("appIdentifier", "String"),
    ("parseVersion", "String"),
];

const SESSION: &[(&str, &str)] = &[
    ("user", "Pointer<_User>"),
    ("installationId", "String"),
    ("sessionToken", "String"),
    ("expiresAt", "Date"),
    ("createdWith", "Object"),
];

const PRODUCT: &[(&str, &str)] = &[
    ("productIdentifier", "String"),
    ("download", "File"),
    ("downloadName", "String"),
    ("icon", "File"),
    ("order", "Number"),
    ("title", "String"),
    ("subtitle", "String"),
];

const PUSH_STATUS: &[(&str, &str)] = &[
    ("pushTime", "String"),
    ("source", "String"),
    ("query", "String"),
    ("payload", "String"),
    ("title", "String"),
    ("expiry", "Number"),
    ("expiration_interval", "Number"),
    ("status", "String"),
    ("numSent", "Number"),
    ("numFailed", "Number"),
    ("pushHash", "String"),
    ("errorMessage", "Object"),
    ("sentPerType", "Object"),
    ("failedPerType", "Object"),
    ("sentPerUTCOffset", "Object"),
    ("failedPerUTCOffset", "Object"),
    ("count", "Number"),
];

const JOB_STATUS: &[(&str, &str)] = &[
    ("jobName", "String"),
    ("source", "String"),
    ("status", "String"),
    ("message", "String"),
    ("params", "Object"),
    ("finishedAt", "Date"),
];

const JOB_SCHEDULE: &[(&str, &str)] = &[
    ("jobName", "String"),
    ("description", "String"),
    ("params", "String"),
    ("startAfter", "String"),
    ("daysOfWeek", "Array"),
    ("timeOfDay", "String"),
    ("lastRun", "Number"),
    ("repeatMinutes", "Number"),
];
