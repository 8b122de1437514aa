//! The rights that a definition which waits stands on.
//!
//! In: a state of the catalog, the role that defines, and the objects that it defines anew; out: whether another state gives
//! it the same rights. Others may take them away before the end of the block, and must not be overruled by it.

use std::collections::{BTreeMap, BTreeSet};

use auspex_storage::{CatalogState, Grants};

use crate::access::{HeldRole, roles};

/// What decides what a role may do with some objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rights {
    role: HeldRole,
    is_superuser: bool,
    /// The roles whose rights it has.
    held: BTreeSet<String>,
    /// By id the owner of each object and of its schema, and what others may do with it.
    objects: BTreeMap<String, (String, Grants)>,
}

impl Rights {
    pub(super) fn of<'a>(
        state: &CatalogState,
        role: &HeldRole,
        ids: impl Iterator<Item = &'a str>,
    ) -> Rights {
        let mut objects = BTreeMap::new();
        for entry in ids.filter_map(|id| state.by_id(id)) {
            for object in [Some(entry), state.schema(&entry.schema)]
                .into_iter()
                .flatten()
            {
                let allowed = (object.owner.clone(), object.granted().clone());
                objects.insert(object.id.clone(), allowed);
            }
        }
        let name = role.name_in(state);
        Rights {
            role: role.clone(),
            is_superuser: roles::is_superuser(state, &name),
            held: roles::held(state, &name),
            objects,
        }
    }

    /// Whether a state gives the same; a superuser has all rights, whatever others do with an object.
    pub(super) fn hold(&self, state: &CatalogState) -> bool {
        match self.is_superuser {
            true => roles::is_superuser(state, &self.role.name_in(state)),
            false => {
                let ids = self.objects.keys().map(String::as_str);
                Rights::of(state, &self.role, ids) == *self
            }
        }
    }
}
