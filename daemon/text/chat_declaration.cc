// Gemma 4's declarations of tools: the parts of a JSON schema that the official template writes, as it writes
// them. What it leaves out of a schema (anyOf, $ref, bounds, ... of a property) is left out here.
#include <algorithm>
#include <iterator>

#include "daemon/text/chat_gemma.h"
#include "daemon/text/tool_syntax.h"

namespace facet::text {
namespace {

using Kind = JsonValue::Kind;

// What is not written where the parts of a schema stand in for its properties.
constexpr std::string_view kSchemaKeys[] = {"description", "type", "properties", "required", "nullable"};

Error invalid(const std::string& field, const std::string& why) {
  return {FACET_INVALID_ARGUMENT, field + " " + why};
}

bool is_schema_key(std::string_view key) {
  return std::find(std::begin(kSchemaKeys), std::end(kSchemaKeys), key) != std::end(kSchemaKeys);
}

// Whether Python takes the value for true; a missing one is not.
bool truthy(const JsonValue* value) {
  if (!value) return false;
  switch (value->kind) {
    case Kind::kNull:
      return false;
    case Kind::kBoolean:
      return value->boolean;
    case Kind::kNumber:
      return value->text.substr(0, value->text.find_first_of("eE")).find_first_of("123456789") !=
             std::string::npos;
    case Kind::kString:
      return !value->text.empty();
    case Kind::kArray:
    case Kind::kObject:
      return !value->items.empty();
  }
  return false;
}

std::string upper(std::string_view text) {
  std::string capitals(text);
  for (char& c : capitals) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return capitals;
}

// As Python prints it. What a declaration says about a tool is text; numbers and the like come along where
// parts of a schema stand in for properties.
Result<std::string> printed(const JsonValue& value, const std::string& field) {
  switch (value.kind) {
    case Kind::kString:
      return value.text;
    case Kind::kNull:
      return std::string("None");
    case Kind::kBoolean:
      return std::string(value.boolean ? "True" : "False");
    case Kind::kNumber:
      return python_number(value.text);
    case Kind::kArray:
    case Kind::kObject:
      break;
  }
  return invalid(field, "is no text");
}

bool is_type_name(const JsonValue& value) {
  return value.is(Kind::kString) && std::all_of(value.text.begin(), value.text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
         });
}

// A type in capitals; a list of types as Python prints one: ['STRING', 'NULL'].
Result<std::string> type_name(const JsonValue* type, const std::string& field) {
  if (!type) return std::string();
  if (!type->is(Kind::kArray)) {
    FACET_TRY(const std::string name, printed(*type, field + ".type"));
    return upper(name);
  }
  if (!std::all_of(type->items.begin(), type->items.end(), is_type_name)) {
    return invalid(field + ".type", "is neither a type nor a list of types");
  }
  std::string list = "[";
  for (const JsonValue& item : type->items) {
    if (list.size() > 1) list += ", ";
    list += "'" + upper(item.text) + "'";
  }
  return list + "]";
}

// A comma before all but the first.
class Separator {
 public:
  void operator()(MarkedText& out) {
    if (any_) out.add(",");
    any_ = true;
  }

 private:
  bool any_ = false;
};

class DeclarationWriter {
 public:
  explicit DeclarationWriter(MarkedText& out) : out_(out) {}

  Result<void> declaration(const JsonValue& tool, const std::string& field) {
    const JsonValue* found = tool.find("function");
    if (!found || !found->is(Kind::kObject)) return invalid(field + ".function", "is no object");
    const JsonValue& function = *found;
    const std::string at = field + ".function";
    const JsonValue* name = function.find("name");
    if (!name || !name->is(Kind::kString)) return invalid(at + ".name", "is no string");
    FACET_CHECK(check_tool_name(name->text, at + ".name"));
    out_.add("declaration:");
    out_.add(name->text);
    out_.add("{description:");
    FACET_CHECK(description(function.find("description"), at));
    FACET_CHECK(parameters(function.find("parameters"), at + ".parameters"));
    FACET_CHECK(response(function.find("response"), at + ".response"));
    out_.add("}");
    return {};
  }

 private:
  Result<void> description(const JsonValue* text, const std::string& field) {
    std::string words;
    if (text) {
      FACET_TRY(words, printed(*text, field + ".description"));
    }
    write_string(words, out_);
    return {};
  }

  // The template closes the brace after the type, so it stays open without one.
  Result<void> parameters(const JsonValue* schema, const std::string& field) {
    if (!truthy(schema)) return {};
    if (!schema->is(Kind::kObject)) return invalid(field, "is no object");
    out_.add(",parameters:{");
    if (const JsonValue* inner = schema->find("properties"); truthy(inner)) {
      out_.add("properties:{");
      FACET_CHECK(properties(*inner, field + ".properties"));
      out_.add("},");
    }
    if (truthy(schema->find("required"))) {
      FACET_CHECK(required(*schema, field));
      out_.add(",");
    }
    if (truthy(schema->find("type"))) {
      FACET_CHECK(type(schema->find("type"), field));
      out_.add("}");
    }
    return {};
  }

  Result<void> response(const JsonValue* schema, const std::string& field) {
    if (!schema) return {};
    if (!schema->is(Kind::kObject)) return invalid(field, "is no object");
    out_.add(",response:{");
    if (const JsonValue* text = schema->find("description"); truthy(text)) {
      out_.add("description:");
      FACET_CHECK(description(text, field));
      out_.add(",");
    }
    FACET_TRY(const std::string name, type_name(schema->find("type"), field));
    if (name == "OBJECT") {
      FACET_CHECK(type(schema->find("type"), field));
      out_.add("}");
    }
    return {};
  }

  Result<void> properties(const JsonValue& schemas, const std::string& field, bool schema_itself = false) {
    if (!schemas.is(Kind::kObject)) return invalid(field, "is no object");
    Separator comma;
    for (size_t i : key_order(schemas)) {
      const std::string& key = schemas.keys[i];
      if (schema_itself && is_schema_key(key)) continue;
      comma(out_);
      out_.add(key);
      out_.add(":{");
      FACET_CHECK(property(schemas.items[i], field + "." + key));
      out_.add("}");
    }
    return {};
  }

  Result<void> property(const JsonValue& schema, const std::string& field) {
    Separator comma;
    FACET_TRY(const std::string name, type_name(schema.find("type"), field));
    if (const JsonValue* text = schema.find("description"); truthy(text)) {
      comma(out_);
      out_.add("description:");
      FACET_CHECK(description(text, field));
    }
    if (const JsonValue* choices = schema.find("enum"); name == "STRING" && truthy(choices)) {
      comma(out_);
      out_.add("enum:");
      write_argument(*choices, KeyStyle::kQuoted, out_);
    }
    const JsonValue* inner = schema.find("items");
    if (name == "ARRAY" && truthy(inner) && inner->is(Kind::kObject)) {
      comma(out_);
      FACET_CHECK(items(*inner, field + ".items"));
    }
    if (truthy(schema.find("nullable"))) {
      comma(out_);
      out_.add("nullable:true");
    }
    if (name == "OBJECT") FACET_CHECK(members(schema, field, comma));
    comma(out_);
    return type(schema.find("type"), field);
  }

  // The properties of an object. Without any, the other parts of its schema are written as if they were.
  Result<void> members(const JsonValue& schema, const std::string& field, Separator& comma) {
    const JsonValue* inner = schema.find("properties");
    const bool own = inner && inner->is(Kind::kObject);
    comma(out_);
    out_.add("properties:{");
    FACET_CHECK(properties(own ? *inner : schema, own ? field + ".properties" : field, !own));
    out_.add("}");
    if (truthy(schema.find("required"))) {
      comma(out_);
      FACET_CHECK(required(schema, field));
    }
    return {};
  }

  // The schema of an array's elements: all of its parts, in the order of their names.
  Result<void> items(const JsonValue& schema, const std::string& field) {
    out_.add("items:{");
    Separator comma;
    for (size_t i : key_order(schema)) {
      const std::string& key = schema.keys[i];
      const JsonValue& value = schema.items[i];
      if (value.is(Kind::kNull)) continue;
      comma(out_);
      if (key == "required") {
        FACET_CHECK(required(schema, field));
        continue;
      }
      out_.add(key);
      out_.add(":");
      if (key == "properties") {
        out_.add("{");
        if (value.is(Kind::kObject)) FACET_CHECK(properties(value, field + ".properties"));
        out_.add("}");
      } else if (key == "type") {
        FACET_CHECK(item_type(value, field));
      } else {
        write_argument(value, KeyStyle::kQuoted, out_);
      }
    }
    out_.add("}");
    return {};
  }

  Result<void> item_type(const JsonValue& value, const std::string& field) {
    FACET_TRY(const std::string name, type_name(&value, field));
    if (!value.is(Kind::kArray)) {
      write_string(name, out_);
      return {};
    }
    out_.add("[");
    Separator comma;
    for (const JsonValue& one : value.items) {
      comma(out_);
      write_string(upper(one.text), out_);
    }
    out_.add("]");
    return {};
  }

  Result<void> type(const JsonValue* value, const std::string& field) {
    FACET_TRY(const std::string name, type_name(value, field));
    out_.add("type:");
    write_string(name, out_);
    return {};
  }

  Result<void> required(const JsonValue& schema, const std::string& field) {
    const JsonValue& names = *schema.find("required");
    if (!names.is(Kind::kArray)) return invalid(field + ".required", "is no array");
    out_.add("required:[");
    Separator comma;
    for (const JsonValue& name : names.items) {
      if (!name.is(Kind::kString)) return invalid(field + ".required", "has something else than strings");
      comma(out_);
      write_string(name.text, out_);
    }
    out_.add("]");
    return {};
  }

  MarkedText& out_;
};

}  // namespace

Result<void> write_declaration(const std::string& json, const std::string& field, MarkedText& out) {
  FACET_TRY(const JsonValue tool, parse_json(json, field));
  return DeclarationWriter(out).declaration(tool, field);
}

}  // namespace facet::text
