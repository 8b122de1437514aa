//! Arguments declared void: JDBC sends `{? = call upper(?)}` as `select * from upper($1, $2)` with a first parameter that
//! stands for the result. PostgreSQL leaves such arguments out of a function's call, and so does this.
//!
//! In: a statement with the types that the client declared; out: the statement without them, or an error where one stands
//! elsewhere. Their parameters stay, and are bound to nothing.

use std::ops::ControlFlow;

use auspex_sql::ParsedStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, ObjectNamePart, TableFactor,
    VisitMut as _, VisitorMut,
};
use pgwire::api::Type;

use super::prepare::refused_type;
use crate::protocol::parameter_casts::parameter;
use crate::sqlstate::Failure;

/// Leaves the arguments declared void out of a statement. Errors: 0A000, such a parameter is no argument; 42809, `count` has
/// no others.
pub(super) fn leave_out(
    statement: &mut ParsedStatement,
    declared: &[Option<Type>],
) -> Result<(), Failure> {
    if !declared.contains(&Some(Type::VOID)) {
        return Ok(());
    }
    let Some(statement) = statement.sql_mut() else {
        return refuse(declared);
    };
    match statement.visit(&mut VoidArguments { declared }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(failure) => Err(failure),
    }
}

/// Fails if a parameter is declared void.
pub(super) fn refuse(declared: &[Option<Type>]) -> Result<(), Failure> {
    let found = declared.iter().position(|known| *known == Some(Type::VOID));
    found.map_or(Ok(()), |idx| Err(refused_type(idx, &Type::VOID)))
}

struct VoidArguments<'a> {
    declared: &'a [Option<Type>],
}

impl VoidArguments<'_> {
    fn void_parameter(&self, expr: &Expr) -> Option<usize> {
        if let Expr::Nested(inner) = expr {
            return self.void_parameter(inner);
        }
        let idx = parameter(expr)?;
        (self.declared.get(idx) == Some(&Some(Type::VOID))).then_some(idx)
    }

    fn leave_out(
        &self,
        name: &ObjectName,
        arguments: &mut Vec<FunctionArg>,
    ) -> ControlFlow<Failure> {
        let n_written = arguments.len();
        arguments.retain(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => {
                self.void_parameter(expr).is_none()
            }
            _ => true,
        });
        // Without an argument it would count rows.
        let counts_nothing = arguments.is_empty() && n_written > 0 && is_count(name);
        match counts_nothing {
            true => {
                let message = "count(*) must be used to call a parameterless aggregate function";
                ControlFlow::Break(Failure::error("42809", message))
            }
            false => ControlFlow::Continue(()),
        }
    }
}

fn is_count(name: &ObjectName) -> bool {
    let last = name.0.last().and_then(ObjectNamePart::as_ident);
    last.is_some_and(|last| last.value.eq_ignore_ascii_case("count"))
}

impl VisitorMut for VoidArguments<'_> {
    type Break = Failure;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Failure> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(arguments),
                ..
            } => self.leave_out(name, &mut arguments.args),
            TableFactor::Function { name, args, .. } => self.leave_out(name, args),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Failure> {
        if let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &mut function.args
        {
            self.leave_out(&function.name, &mut list.args)?;
        }
        // Arguments are visited behind their call, so that one which is still there is none.
        match self.void_parameter(expr) {
            Some(idx) => ControlFlow::Break(refused_type(idx, &Type::VOID)),
            None => ControlFlow::Continue(()),
        }
    }
}
