//! A history: operations that passed the checks of form, by key.

use std::collections::{BTreeMap, btree_map::Entry};

use flotilla_base::Moment;

use crate::operation::{Note, Operation, Outcome};

/// Why an operation can not be part of a history.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// The answer belongs to another kind of request.
    #[error("the answer does not fit the request: {0}")]
    Answer(String),
    /// Time runs backwards.
    #[error("returned at {returned} ns, before it was invoked at {invoked} ns")]
    Backwards {
        /// Its invocation.
        invoked: u64,
        /// Its return.
        returned: u64,
    },
    /// Sets and registers do not share keys.
    #[error("key {0:?} is used both as a set and as a register")]
    Mixed(String),
}

/// The operations of a run, every one well formed, and what happened beside them.
#[derive(Clone, Debug, Default)]
pub struct History {
    keys: BTreeMap<String, Vec<Operation>>,
    notes: Vec<Note>,
}

impl History {
    /// Takes one operation.
    ///
    /// # Errors
    /// It contradicts itself, or the use of its key so far.
    pub fn push(&mut self, mut operation: Operation) -> Result<(), FormError> {
        if let Outcome::Ok(response) = &operation.outcome
            && !operation.request.takes(response)
        {
            return Err(FormError::Answer(operation.to_string()));
        }
        let Operation { invoked, returned, .. } = operation;
        if returned < invoked {
            return Err(FormError::Backwards { invoked: invoked.0, returned: returned.0 });
        }
        if operation.outcome == Outcome::Unknown {
            // When the client gave up says nothing about the cluster: it may act any time later.
            operation.returned = Moment::NEVER;
        }
        match self.keys.entry(operation.key.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(vec![operation]);
            }
            Entry::Occupied(mut known) => {
                if known.get()[0].request.is_of_set() != operation.request.is_of_set() {
                    return Err(FormError::Mixed(operation.key));
                }
                known.get_mut().push(operation);
            }
        }
        Ok(())
    }

    /// Takes a note.
    pub fn push_note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Each key with its operations, in the order in which they were pushed.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &[Operation])> {
        self.keys.iter().map(|(key, operations)| (key.as_str(), operations.as_slice()))
    }

    /// What happened beside the operations.
    #[must_use]
    pub fn notes(&self) -> &[Note] {
        &self.notes
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.values().map(Vec::len).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
