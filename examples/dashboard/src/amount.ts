/** A decimal in text with two digits at least, and thousands set apart: for eyes, and still never a float. */
export function amount(text: string): string {
  const [whole, digits = ""] = text.split(".");
  const grouped = whole!.replace(/\B(?=(\d{3})+$)/g, ",");
  const rest = digits.replace(/(\d\d\d*?)0+$/, "$1");
  return rest ? `${grouped}.${rest}` : grouped;
}
