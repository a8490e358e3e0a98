//! Follows pointers: `include=items,customer.address`.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{
    Access, ClassSchema, ClpOperation, Constraint, FieldType, Filter, Object, Permission, Pointer,
    Query, ReadOptions, clp,
};
use tidegate_storage::Secrets;

use crate::{Error, WritePath};

impl WritePath {
    /// Replaces the pointers at the wanted paths by the objects they point to, as far as the caller may see them.
    pub(crate) async fn include(
        &self,
        class: &ClassSchema,
        objects: &mut [Object],
        read: &ReadOptions,
        access: &Access,
    ) -> Result<(), Error> {
        let mut paths = read.include.clone();
        if read.include_all {
            let is_pointer =
                |field_type: &FieldType| matches!(field_type, FieldType::Pointer { .. });
            let pointers = class
                .fields
                .iter()
                .filter(|(_, field)| is_pointer(&field.field_type));
            paths.extend(pointers.map(|(name, _)| vec![name.clone()]));
        }
        // Prefixes come first, so that a path finds its parents already followed.
        for path in &paths {
            self.include_path(objects, path, access).await?;
        }
        Ok(())
    }

    async fn include_path(
        &self,
        objects: &mut [Object],
        path: &[String],
        access: &Access,
    ) -> Result<(), Error> {
        let mut wanted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for object in objects.iter_mut() {
            at_path(object, path, &mut |value| {
                if let Some(pointer) = Pointer::of(value) {
                    wanted.entry(pointer.class).or_default().insert(pointer.id);
                }
            });
        }
        for (class, ids) in wanted {
            let found = self.pointed_to(&class, ids, access).await?;
            for object in objects.iter_mut() {
                at_path(object, path, &mut |value| {
                    let target = Pointer::of(value).filter(|pointer| pointer.class == class);
                    if let Some(full) = target.and_then(|pointer| found.get(&pointer.id)) {
                        *value = full.clone();
                    }
                });
            }
        }
        Ok(())
    }

    /// Objects by id in the form they have inside another object. What the caller may not see is left out.
    async fn pointed_to(
        &self,
        class: &str,
        ids: BTreeSet<String>,
        access: &Access,
    ) -> Result<HashMap<String, Value>, Error> {
        let Some(schema) = self.storage.schema().class(class) else {
            return Ok(HashMap::new());
        };
        let is_open = clp::check_class(ClpOperation::Get, class, access).is_ok()
            && schema.allows(ClpOperation::Get, access) == Permission::Allowed
            // A session is its holder's alone, and has a route of its own.
            && (class != "_Session" || access.is_master());
        if !is_open {
            return Ok(HashMap::new());
        }
        let ids = ids.into_iter().map(Value::from).collect();
        let filter = Filter::Field {
            path: vec!["objectId".into()],
            constraint: Constraint::In(ids),
        };
        let found = self
            .storage
            .find(&schema, &Query::filtered(filter), access, Secrets::Hidden)
            .await?;
        let present = Present::new(&schema, access);
        let full = |object: Object| {
            let id = object.get("objectId")?.as_str()?.to_owned();
            let mut object = present.show(object);
            object.insert("__type".into(), "Object".into());
            object.insert("className".into(), class.into());
            Some((id, Value::Object(object)))
        };
        Ok(found.into_iter().filter_map(full).collect())
    }
}

/// Calls `visit` with each value at `path`, through arrays and objects.
fn at_path(object: &mut Object, path: &[String], visit: &mut dyn FnMut(&mut Value)) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if let Some(value) = object.get_mut(first) {
        each(value, rest, visit);
    }
}

fn each(value: &mut Value, rest: &[String], visit: &mut dyn FnMut(&mut Value)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, rest, visit)),
        value if rest.is_empty() => visit(value),
        Value::Object(object) => at_path(object, rest, visit),
        _ => {}
    }
}
