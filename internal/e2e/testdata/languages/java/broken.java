public class Broken {
    public static void main(String[] args) {
        System.out.println("before");
        int n = "one";
    }
}
