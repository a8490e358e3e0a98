//! Reading: get by id, find, count.

use serde_json::{Value, json};
use tidegate_parse_protocol::present::Present;
use tidegate_parse_protocol::{
    Access, ClpOperation, FieldType, Filter, Object, Query, ReadOptions,
};
use tidegate_storage::Secrets;

use crate::error::not_found;
use crate::session::first;
use crate::{Answer, Caller, Error, WritePath};

impl WritePath {
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        class: &str,
        id: &str,
        options: ReadOptions,
    ) -> Result<Answer, Error> {
        let granted = self.authorize(caller, class, ClpOperation::Get).await?;
        let only = granted.only.unwrap_or_else(Filter::all);
        let query = Query {
            read: options,
            ..first(Filter::equal("objectId", id).and(only))
        };
        let found = self.objects(class, &query, &granted.access).await?;
        found
            .into_iter()
            .next()
            .map(|object| Answer::ok(Value::Object(object)))
            .ok_or_else(not_found)
    }

    pub(crate) async fn find(
        &self,
        caller: &Caller,
        class: &str,
        mut query: Query,
    ) -> Result<Answer, Error> {
        let redirected = self.redirected(class, &query);
        let class = redirected.as_deref().unwrap_or(class);
        let only_count = query.count && query.limit == Some(0);
        let operation = if only_count {
            ClpOperation::Count
        } else {
            ClpOperation::Find
        };
        let granted = self.authorize(caller, class, operation).await?;
        if query.count && !only_count {
            self.authorize(caller, class, ClpOperation::Count).await?;
        }
        if let Some(only) = granted.only {
            query.filter = query.filter.and(only);
        }
        let mut results = match query.limit {
            Some(0) => Vec::new(),
            _ => self.objects(class, &query, &granted.access).await?,
        };
        if redirected.is_some() {
            for object in &mut results {
                object.insert("className".into(), class.into());
            }
        }
        let mut body = json!({"results": results});
        // Never uninvited: SDKs hand an answer with a count to code that expects an array.
        if query.count {
            body["count"] = json!(self.count(class, &query, &granted.access).await?);
        }
        Ok(Answer::ok(body))
    }

    /// The class that the named Relation field of `class` holds. `None` for what is no such field: then the query is
    /// for `class` itself (`DatabaseController.redirectClassNameForKey`).
    fn redirected(&self, class: &str, query: &Query) -> Option<String> {
        let field = query.redirect_class_name_for_key.as_deref()?;
        let schema = self.storage.schema().class(class)?;
        match &schema.fields.get(field)?.field_type {
            FieldType::Relation { target } => Some(target.clone()),
            _ => None,
        }
    }

    /// What the caller sees of the objects that match, pointers followed as asked.
    pub(crate) async fn objects(
        &self,
        class: &str,
        query: &Query,
        access: &Access,
    ) -> Result<Vec<Object>, Error> {
        // A class that nobody has saved to yet is an empty one.
        let Some(schema) = self.storage.schema().class(class) else {
            return Ok(Vec::new());
        };
        let present = Present::new(&schema, access);
        query.check_access(class, access, present.protected_fields())?;
        let found = self
            .storage
            .find(&schema, query, access, Secrets::Hidden)
            .await?;
        let mut shown: Vec<Object> = found
            .into_iter()
            .map(|object| present.show(object))
            .collect();
        self.include(&schema, &mut shown, &query.read, access)
            .await?;
        for object in &mut shown {
            query.read.project(object);
        }
        Ok(shown)
    }

    async fn count(&self, class: &str, query: &Query, access: &Access) -> Result<u64, Error> {
        let Some(schema) = self.storage.schema().class(class) else {
            return Ok(0);
        };
        let present = Present::new(&schema, access);
        query.check_access(class, access, present.protected_fields())?;
        Ok(self.storage.count(&schema, &query.filter, access).await?)
    }
}
