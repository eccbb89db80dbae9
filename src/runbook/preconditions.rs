//! Preconditions: CEL over a live object. An expression that cannot be evaluated counts as false. Pure.
//!
//! The reason why a precondition is false is stored where many people may read it, so it never contains a value of the
//! object.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, operators};
use cel::{Context, ExecutionError, IdedExpr, Program, Value};
use serde_json::Value as Json;

use crate::text::flat;

/// Maximum nesting of comprehensions (`all`, `exists`, `map`, `filter` …). The evaluator has no budget of its own, so the
/// cost is bounded here. Each comprehension goes over a part of the object, never over a computed list.
const MAX_NESTING: usize = 2;
/// Maximum number of values of an object.
const MAX_VALUES: usize = 10_000;
/// Maximum number of values of an object if comprehensions are nested.
const MAX_VALUES_NESTED: usize = 1_000;
/// Maximum length of the quoted part of a compiler error, in bytes.
const MAX_ERROR: usize = 500;
/// Name of the one variable.
const OBJECT: &str = "object";
/// The functions that may be called. Operators may, too; macros are expanded before this check.
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

/// An expression that can be used as a precondition.
pub struct Precondition {
    program: Program,
    max_values: usize,
}

/// Whether an expression can be used as a precondition.
///
/// # Errors
/// What is wrong with it, in a sentence.
pub fn compile(expression: &str) -> Result<Precondition, String> {
    let program = Program::compile(expression).map_err(|errors| {
        let first = errors.errors.first().map_or_else(|| errors.to_string(), |error| error.msg.clone());
        format!("the CEL expression does not compile: {}", flat(&first, MAX_ERROR))
    })?;
    let mut look = Look { scope: vec![OBJECT.to_owned()], deepest: 0 };
    look.at(program.expression(), 0)?;
    let max_values = if look.deepest > 1 { MAX_VALUES_NESTED } else { MAX_VALUES };
    Ok(Precondition { program, max_values })
}

/// Evaluates an expression over a live object.
///
/// # Errors
/// Why it is not true: the expression is false, gives no boolean, or cannot be evaluated.
pub fn judge(expression: &str, object: &Json) -> Result<(), String> {
    evaluate(expression, object)?.then_some(()).ok_or_else(|| is_false(expression))
}

/// That an expression is false, in words.
pub fn is_false(expression: &str) -> String {
    format!("`{expression}` is false")
}

/// The value of an expression over a live object.
///
/// # Errors
/// Why it has none: the expression gives no boolean, or cannot be evaluated.
pub fn evaluate(expression: &str, object: &Json) -> Result<bool, String> {
    let Precondition { program, max_values } = compile(expression)?;
    let mut budget = max_values;
    let object = to_cel(object, &mut budget).ok_or_else(|| {
        format!("the object has more than {max_values} values, too many for `{expression}`")
    })?;
    let mut context = Context::default();
    context.add_variable(OBJECT, object).map_err(|_| "the object cannot be read as CEL".to_owned())?;
    match program.execute(&context) {
        Ok(Value::Bool(value)) => Ok(value),
        Ok(_) => Err(format!("`{expression}` gives no boolean")),
        Err(error) => Err(format!("`{expression}` cannot be evaluated: {}", kind(&error))),
    }
}

/// The kind of an error. The words of the error itself contain values of the object.
fn kind(error: &ExecutionError) -> &'static str {
    match error {
        ExecutionError::NoSuchKey(_) => "the object has no such field",
        ExecutionError::IndexOutOfBounds(_) | ExecutionError::UnsupportedIndex(..) => {
            "there is no such element"
        }
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UnexpectedType { .. }
        | ExecutionError::UnsupportedTargetType { .. }
        | ExecutionError::NotSupportedAsMethod { .. }
        | ExecutionError::UnsupportedBinaryOperator(..)
        | ExecutionError::ValuesNotComparable(..) => "the types of the values do not fit the operation",
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "it divides by zero",
        ExecutionError::Overflow(..) => "a number is too large",
        _ => "the values do not fit",
    }
}

/// Walks the syntax tree: finds unknown names before anything is evaluated, and bounds the cost.
struct Look {
    /// The names that are known.
    scope: Vec<String>,
    /// The deepest nesting of comprehensions so far.
    deepest: usize,
}

impl Look {
    fn at(&mut self, expression: &IdedExpr, depth: usize) -> Result<(), String> {
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                let known = self.scope.contains(name) || FUNCTIONS.contains(&name.as_str());
                known
                    .then_some(())
                    .ok_or_else(|| format!("{name:?} is not known: a precondition sees only `object`"))
            }
            Expr::Select(select) => self.at(&select.operand, depth),
            Expr::Call(call) => {
                let named = call.func_name.starts_with(|c: char| c.is_ascii_alphabetic());
                if named && !FUNCTIONS.contains(&call.func_name.as_str()) {
                    return Err(format!(
                        "there is no function {:?}; known are {}",
                        call.func_name,
                        FUNCTIONS.join(", ")
                    ));
                }
                call.target.iter().try_for_each(|target| self.at(target, depth))?;
                call.args.iter().try_for_each(|argument| self.at(argument, depth))
            }
            Expr::List(list) => list.elements.iter().try_for_each(|element| self.at(element, depth)),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(_) => Err("a precondition builds no messages".to_owned()),
            Expr::Comprehension(comprehension) => {
                self.at(&comprehension.iter_range, depth)?;
                if !is_part(&comprehension.iter_range) {
                    return Err(
                        "all, exists, map and filter go over a part of `object`, or over a list that is \
                                written out, and not over what is computed: put the condition inside, as in \
                                object.spec.ports.exists(p, p.name == 'web' && p.port == 80)"
                            .to_owned(),
                    );
                }
                if depth == MAX_NESTING {
                    return Err(format!(
                        "all, exists, map and filter may be nested {MAX_NESTING} deep, no deeper"
                    ));
                }
                self.deepest = self.deepest.max(depth + 1);
                let outside = self.scope.len();
                self.scope.push(comprehension.iter_var.clone());
                self.scope.extend(comprehension.iter_var2.clone());
                self.scope.push(comprehension.accu_var.clone());
                let parts = [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ];
                let seen = parts.into_iter().try_for_each(|part| self.at(part, depth + 1));
                self.scope.truncate(outside);
                seen
            }
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) -> Result<(), String> {
        match entry {
            EntryExpr::MapEntry(entry) => {
                self.at(&entry.key, depth)?;
                self.at(&entry.value, depth)
            }
            EntryExpr::StructField(field) => self.at(&field.value, depth),
        }
    }
}

/// Whether an expression gives a part of its input, so that its value is no larger than the input.
fn is_part(expression: &IdedExpr) -> bool {
    match &expression.expr {
        Expr::Literal(_) | Expr::Ident(_) => true,
        Expr::Select(select) => is_part(&select.operand),
        Expr::Call(call) => call.func_name == operators::INDEX && call.args.iter().all(is_part),
        Expr::List(list) => list.elements.iter().all(is_part),
        _ => false,
    }
}

/// Converts JSON to CEL. Whole numbers become `int`, as in the CEL of the API server, never `uint`.
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
    fn a_precondition_is_judged_over_the_live_object() {
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
    fn an_error_or_a_value_that_is_no_boolean_counts_as_false() {
        let object = json!({"spec": {"replicas": 3}});
        assert!(judge("object.spec.missing > 1", &object).unwrap_err().contains("cannot be evaluated"));
        assert!(judge("object.spec.replicas", &object).unwrap_err().contains("gives no boolean"));
        assert!(judge("object.spec.replicas + 1 == '4'", &object).is_err());
        assert!(judge("object.spec.replicas > 1", &json!({})).is_err());
    }

    #[test]
    fn an_expression_that_does_not_compile_is_named_as_such() {
        assert!(compile("object.spec.replicas >").err().unwrap().contains("does not compile"));
        assert!(compile("").is_err());
        assert!(compile("objekt.spec.replicas > 1").err().unwrap().contains("objekt"));
        assert!(compile("object.spec.names.exist(n, n == 'a')").err().unwrap().contains("exist"));
        assert!(compile("system('rm')").err().unwrap().contains("system"));
    }

    #[test]
    fn an_error_tells_no_value_of_the_object() {
        let object = json!({"data": {"password": "hunter2", "zero": 0, "list": ["hunter2"]}});
        for expression in [
            "object.data.password > 1",
            "object.data.list == object.data.password + 1",
            "object.data[object.data.password]",
            "object[object.data.list]",
            "1 / object.data.zero == int(object.data.password)",
            "int(object.data.password) == 1",
            "object.data.password.matches('(')",
            "object.data.password",
        ] {
            let why = judge(expression, &object).unwrap_err();
            assert!(why.starts_with(&format!("`{expression}` ")) && !why.contains("hunter2"), "{why}");
        }
    }

    #[test]
    fn a_comprehension_over_a_computed_list_is_refused() {
        for doubled in [
            "(object.a + object.a).all(x, x == 1)",
            "object.a.map(x, x + x).map(x, x + x).size() > 0",
            "object.a.map(x, [x, x]).exists(x, x == [1, 1])",
            "object.a.filter(x, x > 1).all(x, x > 2)",
        ] {
            assert!(compile(doubled).err().unwrap().contains("go over a part of `object`"), "{doubled}");
        }
        let object = json!({"a": [{"b": ["x"]}]});
        for (part, holds) in [
            ("object.a[0].b.all(x, x in ['x', 'y'])", true),
            ("object.a.exists(a, a.b.exists(b, b == 'x'))", true),
            ("['x', 'z'].all(known, object.a[0].b.exists(b, b == known))", false),
            ("object.a.filter(a, has(a.b)).size() == 1", true),
        ] {
            assert_eq!(judge(part, &object).is_ok(), holds, "{part}");
        }
    }

    #[test]
    fn the_cost_of_a_precondition_is_bounded() {
        let deep = "object.a.all(x, object.a.all(y, object.a.all(z, x == y && y == z)))";
        assert!(compile(deep).err().unwrap().contains("nested"));
        assert!(compile("object.a.all(x, object.a.exists(y, x == y))").is_ok());
        let large = json!({"a": vec![1; MAX_VALUES + 1]});
        assert!(judge("object.a.size() > 0", &large).unwrap_err().contains("too many"));
        let nested = json!({"a": vec![1; MAX_VALUES_NESTED + 1]});
        assert_eq!(judge("object.a.all(x, x == 1)", &nested), Ok(()));
        assert!(
            judge("object.a.all(x, object.a.exists(y, x == y))", &nested).unwrap_err().contains("too many")
        );
    }
}
