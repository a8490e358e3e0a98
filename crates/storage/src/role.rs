//! Roles of a user and members of a relation, from the join tables.

use tidegate_parse_protocol::ClassSchema;

use crate::param::Param;
use crate::sql::{Binds, Statement, join_table};
use crate::{Error, Storage, pool};

/// A role that another role's `roles` holds gives its members that other role too; `union` ends every circle.
const ROLES_OF_USER: &str = r#"
    with recursive held(id) as (
        select "owningId" from "_Join:users:_Role" where "relatedId" = $1::text
        union
        select parent."owningId" from held join "_Join:roles:_Role" parent on parent."relatedId" = held.id
    )
    select "name" from held join "_Role" on "objectId" = held.id where "name" is not null order by "name""#;

impl Storage {
    /// The names of all roles that a user has, directly and by inheritance, without the `role:` prefix. One round trip.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: retry.
    pub async fn roles_of_user(&self, user_id: &str) -> Result<Vec<String>, Error> {
        let params = vec![Param::Text(user_id.to_owned())];
        self.texts(&Statement {
            text: ROLES_OF_USER.to_owned(),
            params,
        })
        .await
    }

    /// The ids of the objects in a relation field of one object, in no order.
    ///
    /// # Errors
    /// [`Error::StaleSchema`]: the class has no such relation any more. [`Error::Unavailable`]: retry.
    pub async fn related_ids(
        &self,
        class: &ClassSchema,
        field: &str,
        owning_id: &str,
    ) -> Result<Vec<String>, Error> {
        let mut binds = Binds::default();
        let (table, owner) = (join_table(&class.name, field), binds.text(owning_id));
        let text = format!("SELECT \"relatedId\" FROM {table} WHERE \"owningId\" = {owner}");
        self.texts(&Statement {
            text,
            params: binds.0,
        })
        .await
    }

    /// The first column of every row.
    async fn texts(&self, statement: &Statement) -> Result<Vec<String>, Error> {
        let rows = self
            .or_reload(pool::read(&self.inner.pool, statement).await)
            .await?;
        rows.iter()
            .map(|row| row.try_get(0).map_err(|source| Error::Database { source }))
            .collect()
    }
}
