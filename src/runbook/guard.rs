//! Guards: CEL over a live object. Pure. What cannot be judged counts as false.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr};
use cel::{Context, IdedExpr, Program, Value};
use serde_json::Value as Json;

use crate::text::flat;

/// How deep comprehensions (`all`, `exists`, `map`, `filter` …) may be nested. The evaluator has no budget of
/// its own, so the cost is bounded here: at most quadratic in the size of the object.
const MAX_NESTING: usize = 2;
/// Objects with more values than this are not judged.
const MAX_VALUES: usize = 10_000;
/// Longest part of an error that the evaluator gives, in bytes.
const MAX_ERROR: usize = 500;
/// The one variable.
const OBJECT: &str = "object";
/// What may be called, beside operators. Macros are expanded before this is looked at.
const FUNCTIONS: [&str; 13] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
];

/// Whether an expression can be used as a guard.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn compile(expression: &str) -> Result<Program, String> {
    let program = Program::compile(expression).map_err(|errors| {
        let first = errors.errors.first().map_or_else(|| errors.to_string(), |error| error.msg.clone());
        format!("the CEL expression does not compile: {}", flat(&first, MAX_ERROR))
    })?;
    look(program.expression(), &mut vec![OBJECT.to_owned()], 0)?;
    Ok(program)
}

/// Judges a live object.
///
/// # Errors
/// Why it is not true: the expression is false, gives no boolean, or cannot be evaluated.
pub fn judge(expression: &str, object: &Json) -> Result<(), String> {
    let program = compile(expression)?;
    let mut budget = MAX_VALUES;
    let object = to_cel(object, &mut budget)
        .ok_or_else(|| format!("the object has more than {MAX_VALUES} values, too many to judge"))?;
    let mut context = Context::default();
    context.add_variable(OBJECT, object).map_err(|_| "the object cannot be read as CEL".to_owned())?;
    match program.execute(&context) {
        Ok(Value::Bool(true)) => Ok(()),
        Ok(Value::Bool(false)) => Err(format!("`{expression}` is false")),
        Ok(_) => Err(format!("`{expression}` gives no boolean")),
        Err(error) => {
            Err(format!("`{expression}` cannot be evaluated: {}", flat(&error.to_string(), MAX_ERROR)))
        }
    }
}

/// Walks the syntax tree: unknown names are found before anything runs, and nesting is bounded.
fn look(expression: &IdedExpr, scope: &mut Vec<String>, depth: usize) -> Result<(), String> {
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => {
            let known = scope.contains(name) || FUNCTIONS.contains(&name.as_str());
            known.then_some(()).ok_or_else(|| format!("{name:?} is not known: a guard sees only `object`"))
        }
        Expr::Select(select) => look(&select.operand, scope, depth),
        Expr::Call(call) => {
            let named = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
            if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
                return Err(format!(
                    "there is no function {:?}; known are {}",
                    call.func_name,
                    FUNCTIONS.join(", ")
                ));
            }
            call.target.iter().try_for_each(|target| look(target, scope, depth))?;
            call.args.iter().try_for_each(|argument| look(argument, scope, depth))
        }
        Expr::List(list) => list.elements.iter().try_for_each(|element| look(element, scope, depth)),
        Expr::Map(map) => map.entries.iter().try_for_each(|entry| look_entry(&entry.expr, scope, depth)),
        Expr::Struct(_) => Err("a guard builds no messages".to_owned()),
        Expr::Comprehension(comprehension) => {
            look(&comprehension.iter_range, scope, depth)?;
            if depth == MAX_NESTING {
                return Err(format!(
                    "all, exists, map and filter may be nested {MAX_NESTING} deep, no deeper"
                ));
            }
            let outside = scope.len();
            scope.push(comprehension.iter_var.clone());
            scope.extend(comprehension.iter_var2.clone());
            scope.push(comprehension.accu_var.clone());
            let parts = [
                &comprehension.accu_init,
                &comprehension.loop_cond,
                &comprehension.loop_step,
                &comprehension.result,
            ];
            let seen = parts.into_iter().try_for_each(|part| look(part, scope, depth + 1));
            scope.truncate(outside);
            seen
        }
    }
}

fn look_entry(entry: &EntryExpr, scope: &mut Vec<String>, depth: usize) -> Result<(), String> {
    match entry {
        EntryExpr::MapEntry(entry) => {
            look(&entry.key, scope, depth)?;
            look(&entry.value, scope, depth)
        }
        EntryExpr::StructField(field) => look(&field.value, scope, depth),
    }
}

/// Whole numbers become `int`, as the API server has them in its own CEL, never `uint`.
fn to_cel(value: &Json, budget: &mut usize) -> Option<Value> {
    *budget = budget.checked_sub(1)?;
    Some(match value {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(number) => Value::Int(number),
            None => Value::Float(number.as_f64()?),
        },
        Json::String(text) => Value::String(Arc::new(text.clone())),
        Json::Array(items) => {
            let items = items.iter().map(|item| to_cel(item, budget)).collect::<Option<Vec<_>>>()?;
            Value::List(Arc::new(items))
        }
        Json::Object(members) => {
            let mut map = HashMap::with_capacity(members.len());
            for (key, member) in members {
                map.insert(key.clone(), to_cel(member, budget)?);
            }
            Value::from(map)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_guard_is_judged_over_the_live_object() {
        let object = json!({"spec": {"replicas": 3, "paused": false, "names": ["a", "b"]}});
        assert_eq!(judge("object.spec.replicas > 1", &object), Ok(()));
        assert_eq!(judge("object.spec.replicas == 3 && !object.spec.paused", &object), Ok(()));
        assert_eq!(judge("object.spec.names.all(n, n.size() == 1)", &object), Ok(()));
        assert_eq!(judge("!has(object.spec.other)", &object), Ok(()));
        assert_eq!(
            judge("object.spec.replicas > 3", &object),
            Err("`object.spec.replicas > 3` is false".into())
        );
    }

    #[test]
    fn an_error_or_something_else_than_a_boolean_counts_as_false() {
        let object = json!({"spec": {"replicas": 3}});
        assert!(judge("object.spec.missing > 1", &object).unwrap_err().contains("cannot be evaluated"));
        assert!(judge("object.spec.replicas", &object).unwrap_err().contains("gives no boolean"));
        assert!(judge("object.spec.replicas + 1 == '4'", &object).is_err());
        assert!(judge("object.spec.replicas > 1", &json!({})).is_err());
    }

    #[test]
    fn an_expression_that_does_not_compile_is_named_as_such() {
        assert!(compile("object.spec.replicas >").unwrap_err().contains("does not compile"));
        assert!(compile("").is_err());
        assert!(compile("objekt.spec.replicas > 1").unwrap_err().contains("objekt"));
        assert!(compile("object.spec.names.exist(n, n == 'a')").unwrap_err().contains("exist"));
        assert!(compile("system('rm')").unwrap_err().contains("system"));
    }

    #[test]
    fn the_cost_of_a_guard_is_bounded() {
        let deep = "object.a.all(x, object.a.all(y, object.a.all(z, x == y && y == z)))";
        assert!(compile(deep).unwrap_err().contains("nested"));
        assert!(compile("object.a.all(x, object.a.exists(y, x == y))").is_ok());
        let large = json!({"a": vec![1; MAX_VALUES + 1]});
        assert!(judge("object.a.size() > 0", &large).unwrap_err().contains("too many"));
    }
}
